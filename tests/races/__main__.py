"""Runs tests of a worker under ThreadSanitizer, without Python.

python -m races [arguments of cargo test …]

The standard library is compiled with ThreadSanitizer too: its locks and reference counts order what
the server does, and ThreadSanitizer does not see them in a library that was compiled without it.
That needs the sources of the standard library, of the same version as rustc. Where rustc has none,
root gets a root directory of Debian with a rustc that has them (`interpreters`).
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from interpreters import enter, root

TREE = Path(__file__).resolve().parents[2]
SUITE = "sid"
#: rustc of Debian has no runtime of ThreadSanitizer; clang has the same one.
PACKAGES = (
    "ca-certificates",
    "cargo",
    "clang",
    "g++",
    "libclang-rt-dev",
    "libc6-dev",
    "llvm",
    "make",
    "mount",
    "rust-src",
    "rustc",
)
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lockgate" / "races"
#: The load, then everything else with sockets and threads.
TESTS = (
    "load",
    "event_loops",
    "shared_by_event_loops",
    "limits_of_event_loops",
    "serving",
    "streaming",
    "http2",
    "overload",
)
OPTIONS = f"suppressions={Path(__file__).with_name('suppressions')}:second_deadlock_stack=1"


def main() -> int:
    target = f"{platform.machine()}-unknown-linux-gnu"
    sysroot = Path(output("rustc", "--print", "sysroot")) if shutil.which("rustc") else None
    if sysroot and has_sources(sysroot):
        is_complete = any(sysroot.glob(f"lib/rustlib/{target}/lib/librustc*_rt.tsan.a"))
        return subprocess.run(
            command(target), env={**os.environ, **settings(is_complete)}
        ).returncode
    if os.geteuid() != 0 or shutil.which("mmdebstrap") is None:
        print(
            f"races: {sysroot or 'this system'} has no sources of the standard library: "
            "rustup component add rust-src, or apt install rust-src; "
            "or install mmdebstrap and be root, for a root directory of Debian that has them",
            file=sys.stderr,
        )
        return 2
    directory = root.obtain(SUITE, CACHE, list(PACKAGES))
    certificates = {"CARGO_HTTP_CAINFO": str(enter.CERTIFICATES)}
    return enter.run(directory, TREE, command(target), settings(is_complete=False) | certificates)


def output(*arguments: str) -> str:
    return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.strip()


def has_sources(sysroot: Path) -> bool:
    return (sysroot / "lib/rustlib/src/rust/library/Cargo.lock").exists()


def command(target: str) -> list[str]:
    chosen = sys.argv[1:] or [f"--test={test}" for test in TESTS]
    cargo = ["cargo", "test", "--locked", "-Zbuild-std", f"--target={target}", "--no-fail-fast"]
    return [*cargo, "--package=lockgate-worker", *chosen]


def settings(is_complete: bool) -> dict[str, str]:
    """The environment of cargo; `is_complete`: rustc has the runtime of ThreadSanitizer."""
    flags = ["-Zsanitizer=thread"]
    if not is_complete:
        flags += ["-Zexternal-clangrt", "-Clinker=clang", "-Clink-arg=-fsanitize=thread"]
    return {
        "CARGO_TARGET_DIR": str(TREE / "target" / "race"),
        # The options of rustc that begin with -Z are those of a nightly one.
        "RUSTC_BOOTSTRAP": "1",
        "RUSTFLAGS": " ".join(flags),
        "TSAN_OPTIONS": f"{OPTIONS}:{os.environ.get('TSAN_OPTIONS', '')}",
    }


if __name__ == "__main__":
    sys.exit(main())
