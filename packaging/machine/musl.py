"""A root file system without glibc, such as Alpine's: musl, BusyBox, and a CPython built for musl.

musl and BusyBox are Debian's. zig compiles CPython, in a Debian root of this machine.
"""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .container import Container, Options
from .roots import Recipe, Unavailable, make_debian, root
from .sources import Source

# It has musl 1.2.5, as zig has.
SUITE = "trixie"
# For the processor of the root. BusyBox is static.
PACKAGES = ("busybox-static", "musl")
# For this machine: what the script needs besides zig.
TOOLS = ("bzip2", "make", "xz-utils")
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
SCRIPT = Path(__file__).with_name("musl_python.sh")
SECONDS = 7200


@dataclass(frozen=True)
class MuslRecipe(Recipe):
    """`packages` has the interpreter, such as python3.14t; `suite` is that of musl."""

    # Of the interpreter and of zlib.
    sources: tuple[Source, ...] = ()

    @property
    def name(self) -> str:
        # A root that another script has made, or of other sources, is another one.
        made_of = [SCRIPT.read_text(), *(source.origin for source in self.sources)]
        digest = hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:8]
        return f"musl-{super().name}-{digest}"

    def make(self, directory: Path) -> None:
        zig = _zig()
        tools = root(Recipe(self.suite, TOOLS), directory.parent)
        # Beside the root, which is renamed and not copied.
        with tempfile.TemporaryDirectory(prefix="musl-", dir=directory.parent) as scratch:
            sources, libc, out = (Path(scratch) / name for name in ("sources", "libc", "out"))
            sources.mkdir()
            for source in self.sources:
                source.collect(sources, tools)
            make_debian(Recipe(self.suite, PACKAGES, self.architecture, "extract"), libc)
            out.mkdir()
            options = Options(
                volumes={"/zig": zig, "/sources": sources}, writable_volumes={"/out": out}
            )
            self._compile([libc, tools], options)
            out.rename(directory)

    def _compile(self, roots: Sequence[Path], options: Options) -> None:
        (python,) = self.packages
        command = ["sh", "-c", SCRIPT.read_text(), "build", python, MACHINES[self.architecture]]
        with Container(roots, command, options) as container:
            try:
                status = container.wait(SECONDS)
            except subprocess.TimeoutExpired:
                raise Unavailable(f"{python} was not built for musl within {SECONDS} s") from None
            last = "\n".join(container.log().strip().splitlines()[-5:])
        if status != 0:
            raise Unavailable(f"{python} cannot be built for musl: {last}")


def _zig() -> Path:
    """The folder of zig, which is a package of Python."""
    found = importlib.util.find_spec("ziglang")
    if found is None or not found.submodule_search_locations:
        raise Unavailable("zig is missing: pip install --requirement requirements/wheels.txt")
    return Path(found.submodule_search_locations[0])
