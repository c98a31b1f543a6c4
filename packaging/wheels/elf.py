"""What the dynamic linker reads of a shared library: machine, symbols, libraries and versions."""

from __future__ import annotations

import io
from dataclasses import dataclass

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection
from elftools.elf.sections import SymbolTableSection

MACHINES = {"EM_X86_64": "x86_64", "EM_AARCH64": "aarch64"}


@dataclass(frozen=True)
class SharedLibrary:
    """The facts of a shared library that decide where it can be loaded."""

    architecture: str
    exports: frozenset[str]
    libraries: frozenset[str]
    # Versioned symbols that it needs: ("GLIBC", (2, 17)).
    versions: frozenset[tuple[str, tuple[int, ...]]]
    search_paths: tuple[str, ...]
    has_symbol_table: bool
    has_executable_stack: bool


def read(content: bytes) -> SharedLibrary:
    """The shared library in `content`."""
    elf = ELFFile(io.BytesIO(content))
    exports: set[str] = set()
    libraries: set[str] = set()
    versions: set[tuple[str, tuple[int, ...]]] = set()
    paths: list[str] = []
    names: set[str] = set()
    for section in elf.iter_sections():
        names.add(section.name)
        if isinstance(section, SymbolTableSection) and section.name == ".dynsym":
            exports |= {
                symbol.name
                for symbol in section.iter_symbols()
                if symbol.name
                and symbol["st_shndx"] != "SHN_UNDEF"
                and symbol["st_info"]["bind"] in ("STB_GLOBAL", "STB_WEAK")
            }
        elif isinstance(section, DynamicSection):
            for tag in section.iter_tags():
                if tag.entry.d_tag == "DT_NEEDED":
                    libraries.add(tag.needed)
                elif tag.entry.d_tag in ("DT_RPATH", "DT_RUNPATH"):
                    paths.append(getattr(tag, tag.entry.d_tag[3:].lower()))
        elif isinstance(section, GNUVerNeedSection):
            for _library, needed in section.iter_versions():
                versions |= {version(entry.name) for entry in needed}
    return SharedLibrary(
        architecture=MACHINES.get(elf["e_machine"], str(elf["e_machine"])),
        exports=frozenset(exports),
        libraries=frozenset(libraries),
        versions=frozenset(versions),
        search_paths=tuple(paths),
        has_symbol_table=".symtab" in names or ".debug_info" in names,
        has_executable_stack=any(
            segment["p_type"] == "PT_GNU_STACK" and segment["p_flags"] & 1
            for segment in elf.iter_segments()
        ),
    )


def version(name: str) -> tuple[str, tuple[int, ...]]:
    """`GLIBC_2.17` as ("GLIBC", (2, 17)); a version without numbers has none."""
    library, _, numbers = name.rpartition("_")
    parts = numbers.split(".")
    if all(part.isdigit() for part in parts):
        return library, tuple(int(part) for part in parts)
    return name, ()
