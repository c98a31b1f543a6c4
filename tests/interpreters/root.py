"""Root directories of Debian releases, made by mmdebstrap and kept for a week.

A root has one interpreter or more, a compiler, cargo, and the programs that tests run. Browsers and
npm are not in it: what they show does not depend on the interpreter.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Where an interpreter of each name is packaged; names are those of the programs.
SUITES = {
    "python3.11": "bookworm",
    "python3.13": "trixie",
    "python3.14": "sid",
    "python3.15": "sid",
}
BUILD_PACKAGES = ("ca-certificates", "cargo", "g++", "gcc", "git", "libc6-dev", "make", "rustc")
TEST_PACKAGES = (
    "apache2",
    "bash-completion",
    "brotli",
    "caddy",
    "curl",
    "haproxy",
    "iproute2",
    "mount",
    "nghttp2-client",
    "nginx-light",
    "openssl",
    "pebble",
    "postgresql",
    "procps",
    "redis-server",
    "util-linux",
    "zstd",
)
#: Debian's rolling release changes every day; a root of last week says little about it.
KEPT_SECONDS = 7 * 24 * 3600.0


def packages(suite: str) -> list[str]:
    """All packages of the root of a release: roots are large, so its interpreters share one."""
    names = sorted(name for name, place in SUITES.items() if place == suite)
    python = [f"{name}-{part}" for name in names for part in ("dev", "venv")]
    return sorted([*python, *BUILD_PACKAGES, *TEST_PACKAGES])


def key(suite: str, names: list[str]) -> str:
    """Changes with the list of packages."""
    digest = hashlib.sha256("\n".join([suite, *names]).encode()).hexdigest()
    return f"{suite}-{digest[:12]}"


def is_fresh(made: float, now: float) -> bool:
    """Times are seconds since 1970; a root from the future has a wrong date."""
    return 0 <= now - made < KEPT_SECONDS


def obtain(suite: str, cache: Path, names: list[str] | None = None) -> Path:
    """The root of a release, which is made if there is none or it is old.

    It has these packages, or those for its interpreters. The cache keeps one root of a release.
    """
    names = names or packages(suite)
    root = cache / key(suite, names)
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / f"{suite}.lock"):
        stamp = root / ".made"
        if stamp.exists() and is_fresh(stamp.stat().st_mtime, time.time()):
            return root
        for old in cache.glob(f"{suite}-*"):
            remove(old)
        begun = root.with_suffix(".part")
        make(suite, names, begun)
        (begun / ".made").touch()
        begun.rename(root)
    return root


def make(suite: str, names: list[str], directory: Path) -> None:
    print(f"interpreters: makes a root of Debian {suite} in {directory}", flush=True)
    command = ["mmdebstrap", "--quiet", "--variant=apt", f"--include={','.join(names)}"]
    # The dates of archive indexes expire, those of a frozen mirror too.
    command += ['--aptopt=Acquire::Check-Valid-Until "false"', suite, str(directory)]
    subprocess.run(command, check=True)


def remove(directory: Path) -> None:
    """Deletes a root, but not through a mount into what is mounted there."""
    mounted = [place for place in mount_points() if place.is_relative_to(directory)]
    if mounted:
        raise OSError(f"{mounted[0]} is mounted: unmount it, then try again")
    shutil.rmtree(directory)


def mount_points() -> Iterator[Path]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        yield Path(line.split()[4].encode().decode("unicode_escape"))


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """One process at a time makes a root."""
    descriptor = os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
