"""A wheel as a file: its members, and the same members written in one way, with a RECORD."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# The earliest time that a zip file can hold.
EARLIEST = 315532800
REGULAR_FILE = 0o100644
EXECUTABLE_FILE = 0o100755


@dataclass(frozen=True)
class Wheel:
    """The members of a wheel: their contents by name."""

    path: Path
    members: dict[str, bytes]

    @classmethod
    def read(cls, path: Path) -> Wheel:
        with zipfile.ZipFile(path) as archive:
            return cls(path, {name: archive.read(name) for name in archive.namelist()})

    @property
    def dist_info(self) -> str:
        """The folder of the metadata: lockgate-0.1.0.dist-info."""
        return next(
            name.split("/")[0] for name in self.members if name.endswith(".dist-info/METADATA")
        )

    def metadata(self, name: str) -> str:
        """The text of a file beside METADATA."""
        return self.members[f"{self.dist_info}/{name}"].decode()


def with_licence(wheel: Wheel, name: str, text: str) -> Wheel:
    """The wheel with one more licence file, as PEP 639 has it."""
    folder = wheel.dist_info
    head, blank, description = wheel.metadata("METADATA").partition("\n\n")
    fields = head.split("\n")
    last = max(place for place, field in enumerate(fields) if field.startswith("License-File: "))
    fields.insert(last + 1, f"License-File: {name}")
    return Wheel(
        wheel.path,
        {
            **wheel.members,
            f"{folder}/licenses/{name}": text.encode(),
            f"{folder}/METADATA": ("\n".join(fields) + blank + description).encode(),
        },
    )


def with_bills(wheel: Wheel, normalise: Callable[[str], str]) -> Wheel:
    """The wheel with each bill of materials (PEP 770) as `normalise` returns it."""
    folder = f"{wheel.dist_info}/sboms/"
    bills = {
        name: normalise(content.decode()).encode()
        for name, content in wheel.members.items()
        if name.startswith(folder)
    }
    return Wheel(wheel.path, {**wheel.members, **bills})


def write(wheel: Wheel, epoch: int) -> None:
    """Writes the wheel to its path: by name, the metadata last, all with the time `epoch`."""
    record = f"{wheel.dist_info}/RECORD"
    members = {name: content for name, content in wheel.members.items() if name != record}
    members[record] = record_text(members, record).encode()
    moment = time.gmtime(max(epoch, EARLIEST))[:6]
    order = sorted(
        members, key=lambda name: (name.startswith(wheel.dist_info), name == record, name)
    )
    with zipfile.ZipFile(wheel.path, "w") as archive:
        for name in order:
            entry = zipfile.ZipInfo(name, moment)
            entry.create_system = 3
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (EXECUTABLE_FILE if name.endswith(".so") else REGULAR_FILE) << 16
            archive.writestr(entry, members[name], compresslevel=9)


def record_text(members: dict[str, bytes], record: str) -> str:
    """RECORD of these members, itself without a digest."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    for name in sorted(members):
        rows.writerow((name, f"sha256={digest(members[name])}", len(members[name])))
    rows.writerow((record, "", ""))
    return text.getvalue()


def digest(content: bytes) -> str:
    """The digest of RECORD: SHA-256 in URL-safe Base64 without padding."""
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
