#!/usr/bin/python
# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Module pomerium_certificate: its contract. The work is done by the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pomerium_certificate
short_description: Install a certificate for Pomerium as one transaction, proven by handshake
version_added: 1.0.0
author: zerotrust.pomerium contributors (@zerotrust)
description:
  - Puts certificate chain, private key and CA on a host, sets C(certificate_file), C(certificate_key_file) and
    C(certificate_authority_file) in Pomerium's configuration, and proves with a TLS handshake that the certificate
    is served. Otherwise everything is put back.
  - What is wrong with certificate, key or configuration is refused before anything on the host is touched.
  - The files lie in C(DIRECTORY/NAME/versions/), and the link C(DIRECTORY/NAME/current) names the version in use.
    Certificate, key and CA change together by one rename, and a renewal does not touch the configuration.
  - Of the configuration only the lines of these settings are edited; every other byte survives. A backup is kept beside
    it. Its text does not leave this module, since it holds secrets.
  - Where a new certificate breaks something, O(version=previous) switches back to the one before, and holds the host
    there until O(version=current).
  - Where nothing differs, one module execution on the host is all that happens. A renewal takes two, the first
    install and a changed configuration three.
  - The host needs Python 3.8 or later and nothing else. The controller needs C(cryptography), C(idna) and
    C(ruamel.yaml).
extends_documentation_fragment:
  - zerotrust.pomerium._pomerium
  - zerotrust.pomerium._pomerium.attributes
options:
  version:
    description:
      - With V(previous) the host goes back to the version that was in use before the one that is in use, which still
        lies there, and is held at it. That needs no CA, no store and no source; one that is given is not read. The
        configuration is not touched. As with every install, a handshake proves that it is served, else everything is
        put back.
      - On a host that is held installs do nothing (also with V(previous), so two people may ask for it) but say so in
        RV(msg) and in a warning, and also warn when less than a fifth of the held certificate's lifetime is left. Newer
        certificates are not even written there.
      - With V(current) the given certificate is installed, and a hold is lifted. Where it is not served the hold is put
        back too.
      - Without it the given certificate is installed, save on a host that is held.
      - Refused is to go back where there is no other version, or where that one has expired, is damaged, or is of a
        staging CA (see O(allow_staging)). One that does not cover O(expect_names) is only warned of.
      - An install that was killed after the hold was written, and before the switch, is finished by the next one.
    type: str
    choices: [current, previous]
  fullchain_src:
    description:
      - The certificate with its chain, leaf first (PEM), on the controller. Found as M(ansible.builtin.copy) finds
        its O(ansible.builtin.copy#module:src); it may be encrypted with Ansible Vault.
      - The files C(meta.json) and C(meta.sig), which C(acme_certificate) writes beside it, are shipped along.
      - In check mode it may not exist yet; then the module says that it would install.
      - Exactly one of O(fullchain_src) and O(fullchain_content) is needed, save with O(version=previous).
    type: path
  fullchain_content:
    description:
      - The certificate with its chain itself, leaf first (PEM).
    type: str
  private_key_src:
    description:
      - The private key (PEM, not encrypted by a passphrase) on the controller. It may be encrypted with Ansible Vault.
      - Exactly one of O(private_key_src) and O(private_key_content) is needed, save with O(version=previous).
    type: path
  private_key_content:
    description:
      - The private key itself (PEM).
    type: str
  authority_src:
    description:
      - The CA certificates (PEM) on the controller. By default they are the chain without its leaf.
    type: path
  authority_content:
    description:
      - The CA certificates themselves (PEM).
    type: str
  authority:
    description:
      - Whether Pomerium, as a TLS client, is told to trust the CA certificates, by C(certificate_authority_file). They
        add to the system's, and have nothing to do with what browsers see.
      - With V(auto) it is set where there is none or it is ours, but not for a test CA (Let's Encrypt's staging
        environment, Pebble), which nothing should trust. Another value is kept, with a warning; a private upstream CA
        that is dropped would make its routes fail.
      - With V(always) it is set, and the certificates of another value are carried over into our file.
      - With V(never) it is not set, and taken out where it is ours.
    type: str
    choices: [auto, always, never]
    default: auto
  edit_config:
    description:
      - Whether the configuration may be edited. Where the settings come from elsewhere (the environment, another tool)
        set this to V(false); they must then point at our files.
    type: bool
    default: true
  owner:
    description:
      - Owner of the files, by name or number. By default the user that installs, so root.
    type: str
  group:
    description:
      - Group of the files, by name or number; the private key is readable by it. By default the group that Pomerium
        runs with.
    type: str
  expect_names:
    description:
      - DNS names that the certificate must cover, else it is refused.
    type: list
    elements: str
    default: []
  shadowing:
    description:
      - What to do about what would be served instead of this certificate. Pomerium adds all the certificates that are
        configured together, and of those for a name the first one wins, C(certificate) before C(certificates) before
        C(certificate_file).
      - V(remove_missing) takes out entries of C(certificates) whose files do not exist, as the package ships one (with
        it Pomerium does not start), and fails on everything else, naming it.
      - V(remove) takes out C(certificate), C(certificate_key), C(autocert) and such entries of C(certificates), where
        their names are ours.
      - V(fail) fails on all of it.
      - Variables in the environment of the process (of the unit, where it is down) cannot be taken out; they always
        fail.
    type: str
    choices: [remove_missing, remove, fail]
    default: remove_missing
  reload:
    description:
      - What may be done where Pomerium does not pick the files up by itself (it does so within 200 ms since 0.13).
      - V(auto) sends SIGHUP (to 0.29 and later; older ones would end), then restarts the unit. V(signal) and V(restart)
        only the one. V(none) does neither.
      - A unit that failed or was never started is started with V(auto) and V(restart); one that an operator stopped is
        not.
    type: str
    choices: [auto, signal, restart, none]
    default: auto
  keep_versions:
    description:
      - How many versions are kept on the host, the ones that were in use last. With less than 2 there is none to go
        back to.
    type: int
    default: 3
  allow_staging:
    description:
      - Whether a certificate of a staging CA may replace one of another CA.
    type: bool
    default: false
  observed:
    description:
      - Directory that M(zerotrust.pomerium.pomerium_certificate_info) returned as C(store_path) in this run. What it
        found on the host is used in place of another look, once. Only for a play in which nothing else changes
        Pomerium's configuration in between.
    type: path
seealso:
  - module: zerotrust.pomerium.acme_certificate
    description: Makes the certificate.
  - module: zerotrust.pomerium.pomerium_certificate_info
    description: Says what is configured, installed and served.
  - name: Certificate settings of Pomerium
    description: What the three settings mean.
    link: https://www.pomerium.com/docs/reference/certificates
"""

EXAMPLES = r"""
- name: Install a certificate on the packaged Pomerium
  zerotrust.pomerium.pomerium_certificate:
    fullchain_src: /srv/certificates/lineages/pomerium/current/fullchain.pem
    private_key_src: /srv/certificates/lineages/pomerium/current/privkey.pem
    expect_names:
      - app.corp.example.com
  become: true

- name: Install for a Pomerium that is run by hand, and never restart it
  zerotrust.pomerium.pomerium_certificate:
    fullchain_src: fullchain.pem
    private_key_src: privkey.pem
    config_path: /opt/pomerium/config.yaml
    group: pomerium
    reload: signal
    probe:
      address: 192.0.2.10
      port: 8443
  become: true

- name: Go back to the certificate before this one, and stay there
  zerotrust.pomerium.pomerium_certificate:
    version: previous
  become: true

- name: Take over from certificates that are configured in another way
  zerotrust.pomerium.pomerium_certificate:
    fullchain_src: fullchain.pem
    private_key_src: privkey.pem
    shadowing: remove
  become: true
"""

RETURN = r"""
msg:
  description: What was done, would be done, or is right already, in one line.
  returned: success
  type: str
  sample: >-
    installed, served: *.corp.example.com until 2027-02-22T10:14:59Z (install version 20261124T101500Z-3a5f; set
    certificate_file, certificate_key_file)
config_keys:
  description: The three settings in Pomerium's configuration; null where one is not set.
  returned: success
  type: dict
  contains:
    before:
      description: As they were.
      returned: success
      type: dict
      sample:
        certificate_file: null
        certificate_key_file: null
        certificate_authority_file: null
    after:
      description: As they are now (in check mode, as they would be).
      returned: success
      type: dict
      sample:
        certificate_file: /etc/pomerium-tls/pomerium/current/fullchain.pem
        certificate_key_file: /etc/pomerium-tls/pomerium/current/privkey.pem
        certificate_authority_file: /etc/pomerium-tls/pomerium/current/ca.pem
files:
  description: The installed files; C(fullchain), C(privkey) and C(ca).
  returned: success
  type: dict
  sample:
    fullchain: /etc/pomerium-tls/pomerium/current/fullchain.pem
    privkey: /etc/pomerium-tls/pomerium/current/privkey.pem
    ca: /etc/pomerium-tls/pomerium/current/ca.pem
version:
  description: The version in use; null in check mode where the certificate does not exist yet.
  returned: success
  type: str
  sample: 20261124T101500Z-3a5f
held:
  description: Whether the host is held at this version, so that installs do nothing until O(version=current).
  returned: success
  type: bool
  sample: false
hold:
  description: Who holds the host; null where nobody does.
  returned: success
  type: dict
  contains:
    version:
      description: The version that is held.
      returned: success
      type: str
      sample: 20260925T101500Z-51c0
    left:
      description: The version that was in use before that.
      returned: success
      type: str
      sample: 20261124T101500Z-3a5f
    since:
      description: Since when (ISO 8601, UTC).
      returned: success
      type: str
      sample: "2026-11-25T03:12:40Z"
    by:
      description: Who asked for it, the user of AWX or of the controller.
      returned: success
      type: str
      sample: ann
served:
  description: What the handshake showed; null where nobody looked.
  returned: success
  type: dict
  contains:
    state:
      description:
        - V(served), V(not_listening), V(no_answer), V(no_tls) (something else speaks there) or
          V(client_certificate_required) (and therefore not seen).
      returned: success
      type: str
      sample: served
    is_ours:
      description: Whether the leaf is that of this bundle, or of the version that is held.
      returned: success
      type: bool
      sample: true
    address:
      description: Address that the host connected to.
      returned: success
      type: str
      sample: 127.0.0.1
    port:
      description: Port that the host connected to.
      returned: success
      type: int
      sample: 8443
    server_name:
      description: Name that was asked for.
      returned: success
      type: str
      sample: pomerium-probe.corp.example.com
    error:
      description: Why nothing was seen; empty otherwise.
      returned: success
      type: str
      sample: ""
    fingerprint_sha256:
      description: SHA-256 of the served leaf (hexadecimal).
      returned: success
      type: str
      sample: 0f7c3b1d5c8e4a21f0a37f6a8a1b6b5f6bb1a3ed1c5c2b1a0c9d8e7f6a5b4c3d
    names:
      description: DNS names of the served leaf.
      returned: success
      type: list
      elements: str
      sample: ["*.corp.example.com", corp.example.com]
    not_after:
      description: When the served leaf expires (ISO 8601, UTC).
      returned: success
      type: str
      sample: "2027-02-22T10:14:59Z"
    issuer:
      description: Issuer of the served leaf (RFC 4514).
      returned: success
      type: str
      sample: CN=E7,O=Let's Encrypt,C=US
reloaded:
  description: The measure it took to be served, V(none), V(signal), V(restart) or V(start).
  returned: success
  type: str
  sample: none
removed_shadowing:
  description: What was taken out of the configuration because it would have been served instead.
  returned: success
  type: list
  elements: str
  sample: ["certificates[0] (/etc/pomerium/cert.pem, whose files are absent)"]
rolled_back:
  description: Whether everything was put back because the certificate was not served. True only when the module fails.
  returned: success
  type: bool
  sample: false
backup_file:
  description: The configuration as it was before; null where it was not edited.
  returned: success
  type: str
  sample: /etc/pomerium/config.yaml.2026-11-24T101512Z~
names:
  description: DNS names of the certificate.
  returned: success
  type: list
  elements: str
  sample: ["*.corp.example.com", corp.example.com]
not_after:
  description: When the certificate expires (ISO 8601, UTC).
  returned: success
  type: str
  sample: "2027-02-22T10:14:59Z"
"""

from ..module_utils._host.options import CERTIFICATE, need_plugin
from ..module_utils._run import run


def main() -> None:
    run(CERTIFICATE, need_plugin)


if __name__ == "__main__":
    main()
