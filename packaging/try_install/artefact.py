"""A wheel or a source distribution, and the roots in which it can be installed, by its name."""

from __future__ import annotations

import dataclasses
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from machine import musl, sources
from machine.roots import DEBIAN_ARCHITECTURES, Recipe, Unavailable

# The Debian release that has each interpreter. It says the oldest glibc with which it was tried.
SUITES = {"3.11": "bookworm", "3.13": "trixie", "3.14": "sid", "3.15": "sid"}
# A release of Debian for interpreters that none has: those of pyenv, which were built there.
PYENV_SUITE = "bookworm"
# Debian sid has a Rust that is new enough.
SOURCE_VERSION = "3.14"
SOURCE_PACKAGES = ("cargo", "gcc", "libc6-dev")
PYENV_LIBRARIES = (
    *("libbz2-1.0", "libffi8", "liblzma5", "libncursesw6", "libreadline8", "libsqlite3-0"),
    *("libssl3", "libuuid1", "zlib1g"),
)
# With them a root is complete whose packages are unpacked and not configured.
UNPACKED_BASE = ("base-files", "base-passwd", "bash", "coreutils", "dash", "libc-bin", "sed")


@dataclass(frozen=True)
class Artefact:
    path: Path
    # As in the name of its program: "3.13", "3.14t".
    version: str
    # The platform tags, without compression.
    platforms: tuple[str, ...]

    @property
    def machine(self) -> str:
        return next(name for name in DEBIAN_ARCHITECTURES if self.platforms[0].endswith(name))

    @property
    def is_source(self) -> bool:
        return self.path.name.endswith(".tar.gz")

    @property
    def libc(self) -> str:
        return "musl" if self.platforms[0].startswith("musllinux") else "glibc"

    @property
    def number(self) -> str:
        """The version without the letter of a free-threaded build."""
        return self.version.removesuffix("t")

    @property
    def abi(self) -> str:
        return f"cp{self.version.replace('.', '')}"


@dataclass(frozen=True)
class Interpreter:
    """A root that has the interpreter of a wheel."""

    recipe: Recipe
    # The program inside.
    program: str
    # Directories of this machine that the root needs.
    volumes: dict[str, Path]


def read(path: Path) -> Artefact:
    """What the name of a wheel says (PEP 427); sources are built for this machine."""
    if path.name.endswith(".tar.gz"):
        return Artefact(path, SOURCE_VERSION, (f"linux_{platform.machine()}",))
    try:
        _, _, interpreter, abi, platforms = path.stem.split("-")
    except ValueError:
        raise Unavailable(f"{path.name} is not the name of a wheel") from None
    if not interpreter.startswith("cp3"):
        raise Unavailable(f"{path.name} is not for CPython 3")
    free_threaded = "t" if abi == f"{interpreter}t" else ""
    version = f"3.{interpreter[3:]}{free_threaded}"
    artefact = Artefact(path, version, tuple(platforms.split(".")))
    if not any(artefact.platforms[0].endswith(name) for name in DEBIAN_ARCHITECTURES):
        raise Unavailable(f"{path.name}: its machine has no root here")
    return artefact


def interpreter(
    artefact: Artefact,
    suite: str | None = None,
    interpreters: Path | None = None,
    tarballs: Path | None = None,
) -> Interpreter:
    """Where a wheel can be tried.

    `suite` names another release for interpreters that are not Debian's. Those are pyenv's, or
    in `interpreters` for the processor of the wheel. Those for musl are compiled, from `tarballs`
    or Debian's sources.
    """
    if artefact.libc == "musl":
        return _musl_interpreter(artefact, tarballs)
    architecture = DEBIAN_ARCHITECTURES[artefact.machine]
    python = f"python{artefact.version}"
    known = SUITES.get(artefact.version)
    if known is not None and suite in (None, known):
        packages: tuple[str, ...] = (python, f"{python}-venv")
        if artefact.is_source:
            packages += SOURCE_PACKAGES
        return Interpreter(_recipe(known, packages, architecture), f"/usr/bin/{python}", {})
    recipe = _recipe(suite or PYENV_SUITE, PYENV_LIBRARIES, architecture)
    if interpreters is None and not recipe.is_emulated:
        interpreters = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    # pyenv calls a free-threaded build 3.14.7t.
    end = artefact.version.removeprefix(artefact.number) or "[0-9]"
    found = sorted(interpreters.glob(f"{artefact.number}.*{end}")) if interpreters else []
    if not found:
        raise Unavailable(
            f"no release of Debian has {python}, nor has {interpreters or 'pyenv'} for "
            f"{architecture}: --interpreters names a folder with {artefact.version}.x/bin/{python}"
        )
    # At the same path, where the program looks for its libpython.
    return Interpreter(recipe, str(found[-1] / "bin" / python), {str(found[-1]): found[-1]})


def _musl_interpreter(artefact: Artefact, tarballs: Path | None) -> Interpreter:
    python = f"python{artefact.version}"
    architecture = DEBIAN_ARCHITECTURES[artefact.machine]
    found = (
        sources.find(f"python{artefact.number}", SUITES.get(artefact.number), tarballs),
        sources.find("zlib", musl.SUITE, tarballs),
    )
    recipe = musl.MuslRecipe(musl.SUITE, (python,), architecture, sources=found)
    return Interpreter(recipe, f"/usr/bin/{python}", {})


def _recipe(suite: str, packages: tuple[str, ...], architecture: str) -> Recipe:
    """Under an emulator the scripts of the packages take ten minutes, and unpacking takes one."""
    recipe = Recipe(suite, packages, architecture)
    if not recipe.is_emulated:
        return recipe
    return dataclasses.replace(recipe, packages=(*packages, *UNPACKED_BASE), variant="extract")
