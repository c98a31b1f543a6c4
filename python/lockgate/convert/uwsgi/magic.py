"""Magic variables: `%d`, `%n`, `%k` and the like, which uWSGI replaces in the text of a file.

uWSGI removes a `%` before any other character together with that character, also at the end of a
line, which joins the next line. `%(` begins a placeholder and stays.
"""

from __future__ import annotations

import os

from lockgate.convert.option import CPUS
from lockgate.convert.source import Machine

#: What `%V` is: the newest release whose options are known here.
VERSION = "2.0.31"

#: The variables about a file, and those about the first file, which an include does not change.
OF_FILE = "odspcenxij"


class Magic:
    """The table of variables; `enter` sets those about a file."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.table = {
            "%": "%",
            "(": "%(",
            "[": "\033",
            "v": machine.directory,
            "h": machine.host_name,
            "t": str(int(machine.now)),
            "T": str(int(machine.now * 1_000_000)),
            "V": VERSION,
            "k": CPUS,
            "u": str(machine.user_id),
            "U": machine.user_name(),
            "g": str(machine.group_id),
            "G": machine.group_name(),
        }
        self.is_first = True

    def enter(self, name: str, path: str, section: str | None, is_main: bool) -> None:
        """Sets the variables about the file that is read next."""
        full = os.path.join(self.machine.directory, path)
        if not os.path.islink(full):
            full = os.path.realpath(full)
        folder, base = os.path.split(full)
        stem, dot, extension = base.rpartition(".")
        self.table.update(
            o=name,
            p=full,
            s=base,
            d=folder.rstrip("/") + "/",
            c=os.path.basename(folder),
            e=extension if dot else "",
            n=stem if dot else base,
            x=section or "",
            b="uwsgi",
            j=f"{hash_of(full):08x}",
        )
        try:
            self.table["i"] = str(os.lstat(full).st_ino)
        except OSError:
            self.table["i"] = ""
        parts = [part for part in folder.split("/") if part]
        for number in range(10):
            self.table[str(number)] = parts[number] if number < len(parts) else ""
        if self.is_first and is_main:
            self.is_first = False
            self.table.update({letter.upper(): self.table[letter] for letter in OF_FILE})

    def lines(self, text: str) -> list[tuple[int, str]]:
        """The lines of a text after the replacement, each with its number."""
        lines: list[tuple[int, str]] = []
        begun: str = ""
        first = 0
        for number, line in enumerate(text.replace(CPUS, "").split("\n"), 1):
            first = first or number
            replaced, joins = self.replace_in_line(line) if "%" in line else (line, False)
            begun += replaced
            if not joins:
                lines.append((first, begun))
                begun, first = "", 0
        if begun:
            lines.append((first, begun))
        return lines

    def replace_in_line(self, line: str) -> tuple[str, bool]:
        """The line, and whether its end is a `%`, which removes the line end."""
        pieces = line.split("%")
        result = [pieces[0]]
        position = 1
        while position < len(pieces):
            piece = pieces[position]
            position += 1
            if piece:
                result.append(self.table.get(piece[0], "") + piece[1:])
            elif position < len(pieces):
                result.append("%" + pieces[position])
                position += 1
            else:
                return "".join(result), True
        return "".join(result), False

    def replace(self, text: str) -> str:
        return "\n".join(line for _, line in self.lines(text))


def hash_of(text: str) -> int:
    """djb33x, in the byte order in which uWSGI prints it."""
    value = 5381
    for byte in text.encode("utf-8", "surrogateescape"):
        value = ((value << 5) + value & 0xFFFFFFFF) ^ byte
    return int.from_bytes(value.to_bytes(4, "little"), "big")
