"""Root file systems of Debian releases, made by mmdebstrap and cached.

A cached root is never changed: a container writes to an overlay above it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

# A root gets Debian's updates at this age, in seconds.
MAX_AGE = 30 * 24 * 3600
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "lockgate" / "roots"

DEBIAN_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# The magic number of an ELF program of each architecture, its mask, and the emulator's name.
EMULATORS = {
    "arm64": (
        r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00",
        r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
        "qemu-aarch64-static",
    ),
    "amd64": (
        r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x3e\x00",
        r"\xff\xff\xff\xff\xff\xfe\xfe\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
        "qemu-x86_64-static",
    ),
}
BINFMT = Path("/proc/sys/fs/binfmt_misc")


class Unavailable(Exception):
    """This machine cannot have such a root; the text says why and what to install."""


@dataclass(frozen=True)
class Recipe:
    """What a root contains."""

    suite: str
    packages: tuple[str, ...]
    # As Debian calls it.
    architecture: str = DEBIAN_ARCHITECTURES.get(platform.machine(), platform.machine())
    # Of mmdebstrap: `extract` installs nothing but the packages and what they depend on, and
    # runs none of their scripts.
    variant: str = "minbase"

    @property
    def name(self) -> str:
        text = "\n".join((self.suite, self.architecture, self.variant, *sorted(self.packages)))
        return f"{self.suite}-{self.architecture}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    @property
    def is_emulated(self) -> bool:
        return self.architecture != DEBIAN_ARCHITECTURES.get(platform.machine())

    def make(self, directory: Path) -> None:
        make_debian(self, directory)


def root(recipe: Recipe, cache: Path = CACHE) -> Path:
    """The directory of the root, which is made if it is missing or too old."""
    if os.geteuid() != 0:
        raise Unavailable("only root can make a root file system")
    if shutil.which("mmdebstrap") is None:
        raise Unavailable("mmdebstrap is missing: apt install mmdebstrap")
    if recipe.is_emulated:
        register_emulator(recipe.architecture)
    cache.mkdir(parents=True, exist_ok=True)
    directory = cache / recipe.name
    with (cache / f"{recipe.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        complete = directory.with_suffix(".complete")
        if complete.exists() and time.time() - complete.stat().st_mtime < MAX_AGE:
            return directory
        complete.unlink(missing_ok=True)
        # Those of runs that were killed.
        for partial in cache.glob(f"{recipe.name}.partial-*"):
            remove(partial)
        remove(directory)
        partial = cache / f"{recipe.name}.partial-{os.getpid()}"
        recipe.make(partial)
        partial.rename(directory)
        complete.touch()
    return directory


def make_debian(recipe: Recipe, directory: Path) -> None:
    command = [
        # It ends with this program, and what it mounts ends with it, even if it is killed.
        *("setpriv", "--pdeathsig", "TERM", "unshare", "--mount", "mmdebstrap"),
        "--quiet",
        # The mirror of a frozen archive has release files that have expired.
        "--aptopt=Acquire::Check-Valid-Until false",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        f"--variant={recipe.variant}",
        f"--architectures={recipe.architecture}",
        f"--include={','.join(recipe.packages)}",
        # It would ask arch-test whether the emulator is there, which has been registered.
        *(["--skip=check/qemu"] if recipe.is_emulated else []),
        recipe.suite,
        str(directory),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        remove(directory)
        last = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise Unavailable(f"mmdebstrap cannot make {recipe.name}: {last}")
    configure(directory)


def configure(directory: Path) -> None:
    """What the scripts of base-passwd and ca-certificates write, where they have not run."""
    for name in ("passwd", "group"):
        written = directory / "etc" / name
        original = directory / "usr/share/base-passwd" / f"{name}.master"
        if original.exists() and not written.exists():
            shutil.copy(original, written)
    # Debian's pip does not start without them.
    bundle = directory / "etc/ssl/certs/ca-certificates.crt"
    certificates = sorted((directory / "usr/share/ca-certificates").rglob("*.crt"))
    if certificates and not bundle.exists():
        bundle.parent.mkdir(parents=True, exist_ok=True)
        bundle.write_text("".join(path.read_text("ascii") for path in certificates), "ascii")


def remove(directory: Path) -> None:
    """Removes a root, but never what is mounted in it."""
    if directory.exists():
        subprocess.run(["rm", "-rf", "--one-file-system", str(directory)], check=True)


def register_emulator(architecture: str) -> None:
    """Lets the kernel run programs of another architecture, until the machine restarts."""
    magic, mask, program = EMULATORS[architecture]
    if not (BINFMT / "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)], check=False)
    if not (BINFMT / "register").exists():
        raise Unavailable(f"the kernel has no binfmt_misc, so {architecture} cannot be emulated")
    name = program.removesuffix("-static")
    if (BINFMT / name).exists():
        return
    path = shutil.which(program)
    if path is None:
        raise Unavailable(f"{program} is missing: apt install qemu-user-static")
    # F: the kernel opens the emulator now, so that a root does not need to contain it.
    (BINFMT / "register").write_text(f":{name}:M::{magic}:{mask}:{path}:F", "ascii")
