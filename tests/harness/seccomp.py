"""A program that runs another one without process_vm_readv: `python seccomp.py PROGRAM …`."""

import ctypes
import os
import platform
import sys

#: The number of the call.
NUMBERS = {"x86_64": 310, "aarch64": 270}
KNOWS_THE_CALL = platform.machine() in NUMBERS


def refuse_reading():
    """Lets no process that this one becomes read memory by process_vm_readv (seccomp(2))."""

    class Instruction(ctypes.Structure):
        _fields_ = (
            ("code", ctypes.c_ushort),
            ("if_true", ctypes.c_ubyte),
            ("if_false", ctypes.c_ubyte),
            ("value", ctypes.c_uint),
        )

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.POINTER(Instruction)))

    load, equal, answer = 0x20, 0x15, 0x06
    instructions = (Instruction * 4)(
        Instruction(load, 0, 0, 0),
        Instruction(equal, 0, 1, NUMBERS[platform.machine()]),
        Instruction(answer, 0, 0, 0x0005_0001),  # SECCOMP_RET_ERRNO with EPERM
        Instruction(answer, 0, 0, 0x7FFF_0000),  # SECCOMP_RET_ALLOW
    )
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, set_seccomp, filter_mode = 38, 22, 2
    assert libc.prctl(no_new_privileges, 1, 0, 0, 0) == 0
    program = Program(4, instructions)
    if libc.prctl(set_seccomp, filter_mode, ctypes.byref(program), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    refuse_reading()
    os.execvp(sys.argv[1], sys.argv[1:])
