"""A root file system without glibc, such as Alpine's: musl, BusyBox, and a CPython built for musl.

Debian has no CPython for musl, but has the sources, and a compiler for musl.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .roots import Recipe, Unavailable, make_debian, remove

# What builds it; of these only BusyBox, which is static, and musl get into the root.
PACKAGES = (
    "busybox-static",
    "bzip2",
    "gcc",
    "libc6-dev",
    "linux-libc-dev",
    "make",
    "musl-tools",
    "xz-utils",
)
SCRIPT = Path(__file__).with_name("musl_python.sh")


@dataclass(frozen=True)
class MuslRecipe(Recipe):
    """`packages` has the Debian source package of the interpreter, such as python3.13."""

    @property
    def name(self) -> str:
        # A root that another script has made is another one.
        script = hashlib.sha256(SCRIPT.read_bytes()).hexdigest()[:8]
        return f"musl-{super().name}-{script}"

    def make(self, directory: Path) -> None:
        (python,) = self.packages
        if self.is_emulated:
            raise Unavailable(f"a CPython for musl on {self.architecture} is not built here")
        # Beside the root, which is renamed and not copied.
        with tempfile.TemporaryDirectory(prefix="musl-", dir=directory.parent) as scratch:
            debian = Path(scratch) / "debian"
            make_debian(Recipe(self.suite, PACKAGES, self.architecture), debian)
            command = ["chroot", str(debian), "sh", "-c", SCRIPT.read_text(), "build", python]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            if done.returncode != 0:
                last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-5:])
                raise Unavailable(f"{python} cannot be built for musl: {last}")
            shutil.move(debian / "out", directory)
            remove(debian)
