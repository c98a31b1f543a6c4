"""The common part of the commands for a running server: its address, their errors and codes."""

from __future__ import annotations

import argparse
import io
import math
import os
import sys
from collections.abc import Callable

from lockgate._lockgate import admin_address
from lockgate.admin_client import Unreachable
from lockgate.arguments import Parser

#: The admin address when no flag names one; the same variable sets `admin_bind`.
VARIABLE = "LOCKGATE_ADMIN_BIND"

EXIT_CODES = {0: "done", 1: "no answer, or refused", 2: "wrong use of this command"}


def where() -> Parser:
    """The flag that names the server, as a parent of a parser."""
    parent = Parser(add_help=False)
    parent.add_argument(
        "--admin",
        metavar="ADDRESS",
        default=argparse.SUPPRESS,
        help="the server's admin_bind, such as unix:/run/lockgate/admin.sock; default: that of "
        f"lockgate.toml in the working directory, or {VARIABLE}",
    )
    return parent


def run(admin: str | None, command: Callable[[str], int]) -> int:
    """Calls the command with the server's address, and reports what prevents it."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names and targets are untrusted; characters that the terminal cannot encode are escaped.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = command(admin or configured_address())
        # What is written at the exit of Python would fail there.
        print(end="", flush=True)
        return code
    except Unreachable as problem:
        print(f"lockgate: {problem}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader has closed the pipe.
        discard_output()
        return 0
    except OSError as problem:
        discard_output()
        print(f"lockgate: cannot write the output: {problem.strerror or problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def discard_output() -> None:
    """Without this, Python would try to write the rest at exit, and report the same failure."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def configured_address() -> str:
    try:
        address = admin_address()
    except ValueError as mistakes:
        raise Unreachable(f"{mistakes}; or name the server's admin_bind with --admin") from None
    if address is None:
        raise Unreachable(
            "no address of an admin listener: start the server with --admin-bind "
            "unix:/run/lockgate/admin.sock, and give the same address here with --admin, in "
            f"{VARIABLE}, or as admin_bind in lockgate.toml"
        )
    if address.startswith("systemd"):
        raise Unreachable(
            f"admin_bind = {address}: only systemd knows the address; give that of the "
            "socket unit (ListenStream=) with --admin"
        )
    return address


def duration(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, not {text}")
    return seconds
