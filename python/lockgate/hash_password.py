"""The command `lockgate hash-password`: lines of the file of users that `basic_auth` reads."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Sequence

from lockgate._lockgate import hash_password
from lockgate.arguments import Parser

DESCRIPTION = """\
Reads a password from the standard input and prints its hash, for the file of users that basic_auth
names. On a terminal it asks twice, and shows nothing of what is typed; from a pipe it reads all of
the input, without the line break at its end."""

#: Nothing of a client is longer: the head of a request has at most 64 KiB.
LONGEST_INPUT = 65536


class InvalidInput(Exception):
    """Why there is no hash, for the user."""


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    try:
        print(hash_password(read_password(), options.user, options.bcrypt))
    except (InvalidInput, ValueError) as problem:
        print(f"lockgate: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nlockgate: interrupted", file=sys.stderr)
        return 130
    return 0


def parser() -> Parser:
    parser = Parser(
        "lockgate hash-password",
        DESCRIPTION,
        examples={
            "lockgate hash-password --user alice >> /etc/shop/users": "asks, and adds a line",
            "pass show shop | lockgate hash-password -u alice --bcrypt": "from another program",
        },
        exit_codes={
            0: "done",
            1: "the password or the name cannot be used",
            2: "wrong use of this command",
        },
    )
    parser.add_argument(
        "-u", "--user", metavar="NAME", help="print the whole line of this user, NAME:HASH"
    )
    parser.add_argument(
        "--bcrypt",
        action="store_true",
        help="a hash of bcrypt, which nginx, Apache and Caddy read, too (default: argon2id)",
    )
    return parser


def read_password() -> bytes:
    if not sys.stdin.isatty():
        entered = sys.stdin.buffer.read(LONGEST_INPUT + 1)
        if len(entered) > LONGEST_INPUT:
            raise InvalidInput(f"the password has more than {LONGEST_INPUT} bytes")
        return entered.removesuffix(b"\n").removesuffix(b"\r")
    try:
        entered_once = getpass.getpass("Password: ")
        if entered_once != getpass.getpass("Again: "):
            raise InvalidInput("the two passwords differ")
    except EOFError:
        raise InvalidInput("no password was entered") from None
    return entered_once.encode("utf-8", "surrogateescape")
