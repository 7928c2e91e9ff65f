#!/bin/sh
# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Boot a machine: `unshare --mount machine_boot.sh LAYER SCRATCH ID HOSTNAME GROUPS [OPTION OF SYSTEMD-NSPAWN...]`.
# It is this machine's / with what is in LAYER over it; all that it writes lies on a tmpfs at SCRATCH, which goes with
# the mount namespace, so that a lab that is killed leaves nothing mounted. GROUPS are its control groups, made here.
set -eu
layer=$1 scratch=$2 id=$3 hostname=$4 groups=$5
shift 5

for group in $groups; do
    mkdir -p "$group"
    echo $$ >"$group/cgroup.procs"
done

mount --make-rprivate /
mount -t tmpfs -o mode=0755 tmpfs "$scratch"
mkdir "$scratch/work" "$scratch/root"
cp -a "$layer" "$scratch/upper"
mount -t overlay -o "lowerdir=/,upperdir=$scratch/upper,workdir=$scratch/work" overlay "$scratch/root"
exec systemd-nspawn --quiet --directory="$scratch/root" --machine="$id" --hostname="$hostname" --register=no \
    --keep-unit --network-veth --link-journal=no --resolv-conf=off --timezone=off --console=pipe "$@" \
    /usr/lib/systemd/systemd --unit=lab.target
