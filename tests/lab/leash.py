# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a command that dies with the process that started it: `python leash.py PARENT_PID COMMAND...`.

PR_SET_PDEATHSIG survives the exec, so the command keeps its own pid and arguments. It is a program of its own because
code between fork and exec is not safe in a process with threads, and the lab has threads. The kernel's rule is that
the signal comes when the *thread* that forked ends: start parts of the lab from a thread that outlives them.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    parent, command = int(arguments[0]), arguments[1:]
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        sys.exit("leash: the parent is gone")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
