"""`lockgate ctl profile`: where the requests of a running server spend their time."""

from __future__ import annotations

import argparse
import os
import secrets
import stat
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lockgate.admin_client import ANSWER_SECONDS, Refused, Unreachable, exchange, printable
from lockgate.arguments import Parser
from lockgate.progress import Bar

#: Formats by the ending of the file's name.
FORMATS = {".svg": "svg", ".json": "speedscope", ".txt": "table"}
STDOUT = "-"

LONGEST = 600.0
MOST_RATE = 1000

#: The server waits this long for workers after the end of a profile.
WORKERS_SECONDS = 5.0


def add_arguments(profile: Parser) -> None:
    profile.add_argument(
        "--seconds",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long threads are sampled, 0.1 to 600",
    )
    profile.add_argument(
        "--rate", type=rate, default=100, metavar="N", help="samples a second, 1 to 1000"
    )
    profile.add_argument(
        "--worker", type=slot, metavar="N", help="only this worker, as numbered in ctl status"
    )
    profile.add_argument(
        "--cpu", action="store_true", help="the flame graph shows the CPU time first"
    )
    profile.add_argument(
        "-o",
        "--output",
        type=output,
        default=STDOUT,
        metavar="FILE",
        help="FILE.svg: a flame graph; FILE.json: for speedscope; FILE.txt, or - for standard "
        "output: a table",
    )


def seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.1 <= number <= LONGEST:
        raise argparse.ArgumentTypeError(f"must be a number from 0.1 to 600, not {text}")
    return number


def rate(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_RATE:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to 1000, not {text}")
    return int(text)


def slot(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be the number of a worker, such as 0, not {text}")
    return int(text)


def output(text: str) -> str:
    if text != STDOUT and Path(text).suffix not in FORMATS:
        raise argparse.ArgumentTypeError(f"must end in .svg, .json or .txt, or be -, not {text}")
    return text


def profile(address: str, options: argparse.Namespace) -> None:
    """Asks for a profile and writes it, or says before the profile begins that it cannot."""
    file = None if options.output == STDOUT else Path(options.output)
    if file is not None:
        check_writable(file)
    query: dict[str, object] = {
        "seconds": options.seconds,
        "rate": options.rate,
        "format": "table" if file is None else FORMATS[file.suffix],
    }
    if options.worker is not None:
        query["worker"] = options.worker
    if options.cpu:
        query["first"] = "cpu"
    with progress(options.seconds):
        answer = ask_for_profile(address, query, options.seconds)
    if file is None:
        sys.stdout.write(answer.decode())
        return
    try:
        replace(file, answer)
    except OSError as error:
        raise Unreachable(f"cannot write {file}: {error.strerror}") from None
    print(f"wrote {printable(str(file))}")


def replace(file: Path, content: bytes) -> None:
    """Writes the file beside its place and renames it: a full disk leaves the old one."""
    present = file.stat() if file.exists() else None
    if present is not None and not stat.S_ISREG(present.st_mode):
        # Such as a pipe or /dev/stdout.
        file.write_bytes(content)
        return
    # A symbolic link stays.
    place = file.resolve()
    beside = place.with_name(f".lockgate-{secrets.token_hex(8)}")
    try:
        stream = beside.open("xb")
    except PermissionError:
        # The directory belongs to another user, the file perhaps not.
        file.write_bytes(content)
        return
    try:
        with stream:
            if present is not None:
                with suppress(PermissionError):
                    os.chown(stream.fileno(), present.st_uid, present.st_gid)
                os.chmod(stream.fileno(), stat.S_IMODE(present.st_mode))
            stream.write(content)
        beside.replace(place)
    except BaseException:
        beside.unlink()
        raise


def check_writable(file: Path) -> None:
    directory = file.parent
    if file.is_dir() or not directory.is_dir():
        what = file if file.is_dir() else directory
        problem = "is a directory" if file.is_dir() else "is no directory"
        raise Unreachable(f"cannot write {file}: {what} {problem}")
    if not os.access(file if file.exists() else directory, os.W_OK):
        raise Unreachable(f"cannot write {file}: permission denied")


def ask_for_profile(address: str, query: dict[str, object], duration: float) -> bytes:
    target = f"/profile?{urllib.parse.urlencode(query)}"
    headers = {"Lockgate-Action": "ctl"}
    timeout = duration + WORKERS_SECONDS + ANSWER_SECONDS
    status, text = exchange(address, "GET", target, headers, timeout=timeout)
    if status == 404 and text.startswith(b"try /"):
        raise Unreachable(f"the server at {address} is a version without profiles")
    if status in (400, 403, 404, 501, 503):
        raise Refused(printable(text.decode(errors="replace").strip()))
    if status != 200:
        raise Unreachable(
            f"{address} answered {status} to /profile: is it the admin_bind of the server?"
        )
    return text


@contextmanager
def progress(duration: float) -> Iterator[None]:
    """A bar with a step for each second."""
    bar = Bar(max(1, round(duration)), is_quiet=False)
    is_done = threading.Event()

    def advance() -> None:
        for _ in range(bar.total):
            if is_done.wait(1.0):
                return
            bar.advance()

    thread = threading.Thread(target=advance, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_done.set()
        thread.join()
        bar.clear()
