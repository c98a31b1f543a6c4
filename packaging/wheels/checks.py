"""What must be true of a wheel before it is published; each check yields the faults it finds."""

from __future__ import annotations

import csv
import email.parser
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from wheels import elf
from wheels.archive import Wheel, digest
from wheels.licences import Crate
from wheels.targets import Target

# Versions of libraries that manylinux2014 has (PEP 599).
OLDEST = {"GLIBC": (2, 17), "GCC": (4, 8, 0)}
# What the dynamic linker of any system of the policy finds.
SYSTEM_LIBRARIES = {
    "manylinux": {
        "ld-linux-aarch64.so.1",
        "ld-linux-x86-64.so.2",
        "libc.so.6",
        "libdl.so.2",
        "libgcc_s.so.1",
        "libm.so.6",
        "libpthread.so.0",
        "librt.so.1",
    },
    # musl is one library; no libgcc_s is in Alpine's image.
    "musllinux": {"libc.so"},
}
THIRD_PARTY = "THIRD-PARTY.txt"


@dataclass(frozen=True)
class Expectation:
    """What a wheel is compared with."""

    target: Target
    version: str
    # Files that the package takes from contrib/wheel, by their names below `data`.
    data_files: frozenset[str]
    crates: tuple[Crate, ...]
    # Folders of the machine that built it.
    private_paths: tuple[str, ...]
    max_bytes: int


def faults(wheel: Wheel, expected: Expectation) -> list[str]:
    """All that is wrong with a wheel, in the order of the checks."""
    return [fault for check in CHECKS for fault in check(wheel, expected)]


def name_fits(wheel: Wheel, expected: Expectation) -> Iterable[str]:
    wanted = expected.target.wheel_name(expected.version)
    if wheel.path.name != wanted:
        yield f"the file is called {wheel.path.name}, not {wanted}"


def tags_fit(wheel: Wheel, expected: Expectation) -> Iterable[str]:
    target = expected.target
    head = email.parser.HeaderParser().parsestr(wheel.metadata("WHEEL"))
    tags = set(head.get_all("Tag", []))
    wanted = {f"{target.python_tag}-{tag}" for tag in target.platform_tag.split(".")}
    if tags != wanted:
        yield f"WHEEL has the tags {sorted(tags)}, not {sorted(wanted)}"
    if head["Root-Is-Purelib"] != "false":
        yield "WHEEL says that the package has no extension module"


def record_fits(wheel: Wheel, _: Expectation) -> Iterable[str]:
    rows = {row[0]: row[1:] for row in csv.reader(io.StringIO(wheel.metadata("RECORD")))}
    record = f"{wheel.dist_info}/RECORD"
    for name in sorted(rows.keys() ^ wheel.members.keys()):
        yield f"{name} is {'only in RECORD' if name in rows else 'missing in RECORD'}"
    for name in sorted(rows.keys() & wheel.members.keys() - {record}):
        content = wheel.members[name]
        if rows[name] != [f"sha256={digest(content)}", str(len(content))]:
            yield f"{name} differs from its digest or size in RECORD"


def metadata_fits(wheel: Wheel, expected: Expectation) -> Iterable[str]:
    head = email.parser.HeaderParser().parsestr(wheel.metadata("METADATA"))
    wanted = {
        "Name": "lockgate",
        "Version": expected.version,
        "License-Expression": "MIT OR Apache-2.0",
    }
    for field, value in wanted.items():
        if head[field] != value:
            yield f"METADATA: {field} is {head[field]!r}, not {value!r}"
    for name in head.get_all("License-File", []):
        if f"{wheel.dist_info}/licenses/{name}" not in wheel.members:
            yield f"METADATA names the licence file {name}, which is not in the wheel"


def has_its_files(wheel: Wheel, expected: Expectation) -> Iterable[str]:
    data = wheel.dist_info.replace(".dist-info", ".data/data")
    wanted = {f"{data}/{name}" for name in expected.data_files}
    wanted |= {"lockgate/__init__.py", "lockgate/py.typed", f"{wheel.dist_info}/entry_points.txt"}
    for name in sorted(wanted - wheel.members.keys()):
        yield f"{name} is missing"
    for name in sorted(wheel.members):
        if name.endswith((".pyc", ".rs", ".orig", "~")):
            yield f"{name} does not belong into a wheel"


def licences_are_there(wheel: Wheel, expected: Expectation) -> Iterable[str]:
    text = wheel.members.get(f"{wheel.dist_info}/licenses/{THIRD_PARTY}", b"").decode()
    if not text:
        yield f"{THIRD_PARTY} is missing: the licences of the crates"
        return
    for crate in expected.crates:
        if crate.title not in text:
            yield f"{THIRD_PARTY} does not name {crate.title}"


def bill_of_materials_is_there(wheel: Wheel, expected: Expectation) -> Iterable[str]:
    bills = [name for name in wheel.members if name.startswith(f"{wheel.dist_info}/sboms/")]
    if not bills:
        yield "no SBOM is in sboms/"
    for name in bills:
        bill = json.loads(wheel.members[name])
        if bill.get("bomFormat") != "CycloneDX":
            yield f"{name} is no CycloneDX"
        listed = {(part["name"], part["version"]) for part in bill.get("components", [])}
        linked = {(crate.name, crate.version) for crate in expected.crates}
        for crate, version in sorted(linked - listed):
            yield f"{name} does not list {crate} {version}"


def module_fits(wheel: Wheel, expected: Expectation) -> Iterable[str]:
    modules = [name for name in wheel.members if name.endswith(".so")]
    wanted = f"lockgate/_lockgate{expected.target.extension_suffix}"
    if modules != [wanted]:
        yield f"the wheel has the extension modules {modules}, not {wanted}"
        return
    yield from library_faults(elf.read(wheel.members[wanted]), expected.target)


def entry_points(target: Target) -> frozenset[str]:
    """The functions by which CPython loads the module."""
    names = {"PyInit__lockgate"}
    # PEP 793; PyO3 defines both.
    if target.python >= "cp315":
        names.add("PyModExport__lockgate")
    return frozenset(names)


def library_faults(library: elf.SharedLibrary, target: Target) -> Iterable[str]:
    """What keeps a shared library from being the extension module of `target`."""
    if library.architecture != target.architecture:
        yield f"the module is for {library.architecture}"
    wanted = entry_points(target)
    if library.exports != wanted:
        yield f"the module exports {sorted(library.exports)[:5]}, not only {sorted(wanted)}"
    for name in sorted(library.libraries - SYSTEM_LIBRARIES[target.libc]):
        yield f"the module needs {name}, which {target.policy} does not have"
    for name, version in sorted(library.versions):
        if target.libc == "musllinux":
            yield f"the module needs {name} {version}, and musl has no versions"
        elif name not in OLDEST or version > OLDEST[name]:
            dotted = ".".join(map(str, version))
            yield f"the module needs {name} {dotted}, newer than {target.policy}"
    for path in library.search_paths:
        yield f"the module looks for libraries in {path}"
    if library.has_symbol_table:
        yield "the module is not stripped"
    if library.has_executable_stack:
        yield "the module makes the stack executable"


def paths_are_remapped(wheel: Wheel, expected: Expectation) -> Iterable[str]:
    for name, content in sorted(wheel.members.items()):
        for path in expected.private_paths:
            place = content.find(path.encode())
            if place >= 0:
                found = content[place : place + 120].split(b"\0")[0].decode("utf-8", "replace")
                yield f"{name} has a path of the machine that built it: {found}"


def size_is_limited(wheel: Wheel, expected: Expectation) -> Iterable[str]:
    size = wheel.path.stat().st_size
    if size > expected.max_bytes:
        yield f"the wheel has {size} bytes; at most {expected.max_bytes} are expected"


CHECKS: tuple[Callable[[Wheel, Expectation], Iterable[str]], ...] = (
    name_fits,
    tags_fit,
    record_fits,
    metadata_fits,
    has_its_files,
    licences_are_there,
    bill_of_materials_is_there,
    module_fits,
    paths_are_remapped,
    size_is_limited,
)


def data_files(tree: Path) -> frozenset[str]:
    """The files of contrib/wheel/data that every wheel has: man pages and completions."""
    folder = tree / "contrib/wheel/data"
    return frozenset(
        file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()
    )
