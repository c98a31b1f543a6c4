"""The Rust that builds for a target: the one on PATH if it has the target's std, or Debian's.

Debian's stands in a folder of its own and runs outside it through its own dynamic linker, so that
linkers, sources and caches are those of this machine.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

# Cross compilers are not among them: zig compiles C and links.
DEBIAN_PACKAGES = ("rustc", "cargo", "rust-src", "libstd-rust-dev:arm64")
DEBIAN_LOADER = Path("lib64/ld-linux-x86-64.so.2")
DEBIAN_LIBRARIES = Path("usr/lib/x86_64-linux-gnu")


class ToolchainMissing(Exception):
    """No Rust at hand builds for a target."""

    def __init__(self, triple: str, root: Path) -> None:
        super().__init__(
            f"the standard library of {triple} is missing: rustup target add {triple}; or, without "
            f"rustup on a Debian machine, make wheels-toolchain, which puts Debian's into {root}"
        )


@dataclass(frozen=True)
class Toolchain:
    """A Rust: its commands in `folder`, or those on PATH if there is none."""

    description: str
    rust_version: str
    sysroot: Path
    folder: Path | None = None
    # The standard library is compiled with the crates.
    builds_std: bool = False
    environment: dict[str, str] = field(default_factory=dict)


def choose(triple: str, root: Path, scratch: Path) -> Toolchain:
    """The toolchain for `triple`; `root` may hold Debian's; its commands go to `scratch`."""
    sysroot = Path(output("rustc", "--print", "sysroot"))
    if has_standard_library(sysroot, triple):
        version = rust_version(output("rustc", "-vV"))
        return Toolchain(f"rustc {version} on PATH", version, sysroot)
    if not (root / "usr/bin/rustc").exists():
        raise ToolchainMissing(triple, root)
    debian = write_commands(root, scratch)
    version = rust_version(output(str(debian / "rustc"), "-vV"))
    builds_std = not has_standard_library(root / "usr", triple)
    if builds_std and not (root / "usr/lib/rustlib/src/rust/library/Cargo.lock").exists():
        raise ToolchainMissing(triple, root)
    return Toolchain(
        f"rustc {version} of Debian" + (", std compiled with the crates" if builds_std else ""),
        version,
        root / "usr",
        folder=debian,
        builds_std=builds_std,
        # -Zbuild-std is unstable; this lets a released compiler take it.
        environment={"RUSTC_BOOTSTRAP": "1"} if builds_std else {},
    )


def has_standard_library(sysroot: Path, triple: str) -> bool:
    """Whether the Rust of `sysroot` can build for `triple`."""
    return any((sysroot / "lib/rustlib" / triple / "lib").glob("libstd-*.rlib"))


def rust_version(verbose: str) -> str:
    """The release in the output of `rustc -vV`."""
    found = re.search(r"^release: (\S+)", verbose, re.MULTILINE)
    return found[1] if found else "unknown"


def write_commands(root: Path, scratch: Path) -> Path:
    """Writes `cargo` and `rustc` that run Debian's; returns their folder."""
    folder = scratch / "debian-rust"
    folder.mkdir(parents=True, exist_ok=True)
    for command in ("cargo", "rustc"):
        script = folder / command
        words = [root / DEBIAN_LOADER, "--library-path", root / DEBIAN_LIBRARIES]
        words.append(root / "usr/bin" / command)
        script.write_text(f'#!/bin/sh\nexec {shlex.join(map(str, words))} "$@"\n')
        script.chmod(0o755)
    return folder


def make_debian_root(root: Path) -> None:
    """Makes `root` with Debian's Rust, by mmdebstrap: a minute, 1.7 GB."""
    if not shutil.which("mmdebstrap"):
        raise FileNotFoundError("mmdebstrap is missing: apt install mmdebstrap")
    root.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [
            "mmdebstrap",
            '--aptopt=Acquire::Check-Valid-Until "false"',
            "--architectures=amd64,arm64",
            "--variant=apt",
            "--include=" + ",".join(DEBIAN_PACKAGES),
            "sid",
            str(root),
        ],
        check=True,
    )


def search_path(toolchain: Toolchain) -> str:
    """PATH with the toolchain's commands first, then those of this virtualenv, such as zig."""
    before = [str(toolchain.folder)] if toolchain.folder else []
    return os.pathsep.join([*before, str(Path(sys.executable).parent), os.environ["PATH"]])


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
