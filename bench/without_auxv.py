"""Runs a command whose prctl(PR_GET_AUXV) fails, as before Linux 6.4: `without_auxv.py COMMAND...`.

That call tells a program under valgrind where the kernel put its vDSO, and valgrind has unmapped
it: rustix then reads unmapped memory (its issue 1559). The fallback, /proc/self/auxv, is one that
valgrind answers truthfully. So what is counted stays the program that is shipped.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

PRCTL_NUMBER = {"x86_64": 157, "aarch64": 167}
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, PR_GET_AUXV = 38, 22, 0x41555856
SECCOMP_MODE_FILTER = 2
ALLOW, FAIL = 0x7FFF0000, 0x00050000 | errno.EINVAL
# Classic BPF: load a word of seccomp_data, compare and skip, return.
LOAD, SKIP_UNLESS_EQUAL, RETURN = 0x20, 0x15, 0x06
# Where seccomp_data has the number of the call, and the lower half of its first argument.
NUMBER, FIRST_ARGUMENT = 0, 16


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_char_p)]


def main() -> None:
    number = PRCTL_NUMBER.get(platform.machine())
    if number is None:
        sys.exit(f"bench: the number of prctl on {platform.machine()} is not known here")
    steps = (
        (LOAD, 0, 0, NUMBER),
        (SKIP_UNLESS_EQUAL, 0, 3, number),
        (LOAD, 0, 0, FIRST_ARGUMENT),
        (SKIP_UNLESS_EQUAL, 0, 1, PR_GET_AUXV),
        (RETURN, 0, 0, FAIL),
        (RETURN, 0, 0, ALLOW),
    )
    program = Program(len(steps), b"".join(struct.pack("=HBBI", *step) for step in steps))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0
    ):
        sys.exit(f"bench: no seccomp here: {os.strerror(ctypes.get_errno())}")
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
