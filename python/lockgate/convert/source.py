"""What a configuration is read from: places, files with limits, and the machine that reads it."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass

#: Bounds on hostile input. Real files are far below.
MOST_FILE_BYTES = 1 << 20
MOST_LINE_BYTES = 1 << 16
MOST_VALUE_CHARACTERS = 1 << 16
MOST_OPTIONS = 10_000
#: Of all values together, repetitions included.
MOST_CHARACTERS = 1 << 23
MOST_FILES = 100


class ConversionError(Exception):
    """The source cannot be converted; the text says where and why."""


@dataclass(frozen=True)
class Place:
    """Where a key stands: a file (or the command line, or a variable) and its line there."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file} line {self.line}"


@dataclass(frozen=True)
class Machine:
    """What a configuration may ask for about the machine and the process that reads it."""

    environment: Mapping[str, str]
    directory: str
    host_name: str
    cpus: int
    user_id: int
    group_id: int
    now: float

    @classmethod
    def here(cls) -> Machine:
        return cls(
            environment=dict(os.environ),
            directory=os.getcwd(),
            host_name=socket.gethostname(),
            cpus=len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1,
            user_id=os.getuid(),
            group_id=os.getgid(),
            now=time.time(),
        )

    def user_name(self) -> str:
        try:
            return pwd.getpwuid(self.user_id).pw_name
        except KeyError:
            return str(self.user_id)

    def group_name(self) -> str:
        try:
            return grp.getgrgid(self.group_id).gr_name
        except KeyError:
            return str(self.group_id)


def read_text(path: str, directory: str = "") -> str:
    """The text of a regular file within the limits; what is not UTF-8 is read as Latin-1."""
    try:
        descriptor = os.open(
            os.path.join(directory, path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        )
    except (OSError, ValueError) as problem:
        raise ConversionError(f"{path}: {reason(problem)}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ConversionError(f"{path}: is not a regular file")
    with open(descriptor, "rb") as file:
        try:
            content = file.read(MOST_FILE_BYTES + 1)
        except OSError as problem:
            raise ConversionError(f"{path}: {reason(problem)}") from None
    if len(content) > MOST_FILE_BYTES:
        raise ConversionError(f"{path}: has more than {MOST_FILE_BYTES} bytes")
    if b"\0" in content:
        raise ConversionError(f"{path}: is binary: it contains a NUL")
    for number, line in enumerate(content.split(b"\n"), 1):
        if len(line) > MOST_LINE_BYTES:
            raise ConversionError(
                f"{path} line {number}: has {len(line)} bytes; at most {MOST_LINE_BYTES} are read"
            )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def replace_within(text: str, old: str, new: str, place: str) -> str:
    """As `str.replace`, within the limit of a value."""
    if text.count(old) * len(new) > MOST_VALUE_CHARACTERS:
        raise ConversionError(f"{place}: a value grows beyond {MOST_VALUE_CHARACTERS} characters")
    return text.replace(old, new)


def reason(problem: OSError | ValueError) -> str:
    if isinstance(problem, OSError) and problem.strerror:
        return problem.strerror
    return str(problem)
