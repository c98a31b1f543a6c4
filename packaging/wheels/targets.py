"""What a wheel is built for: a version of CPython, a libc and an architecture."""

from __future__ import annotations

from dataclasses import dataclass

# The one with a t is free-threaded (PEP 703).
PYTHONS = ("cp310", "cp311", "cp312", "cp313", "cp314", "cp314t", "cp315")
LIBCS = ("manylinux", "musllinux")
ARCHITECTURES = ("x86_64", "aarch64")

# PEP 599 and PEP 656: the oldest libc on which the wheel works.
POLICIES = {"manylinux": "manylinux2014", "musllinux": "musllinux_1_2"}
# In the order of a wheel's name.
TAGS = {"manylinux": ("manylinux2014", "manylinux_2_17"), "musllinux": ("musllinux_1_2",)}
# Rust's and CPython's name of a libc.
ABIS = {"manylinux": "gnu", "musllinux": "musl"}


class UnknownTarget(ValueError):
    """A name that is none of `CPYTHON-LIBC-ARCHITECTURE`."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"no wheel is called {name!r}: write CPYTHON-LIBC-ARCHITECTURE, such as "
            f"cp313-manylinux-x86_64, of {', '.join(PYTHONS)}; {', '.join(LIBCS)}; "
            f"{', '.join(ARCHITECTURES)}"
        )


@dataclass(frozen=True)
class Target:
    """One wheel: `python` as the ABI in its tag, `libc` and `architecture` as in its platform."""

    python: str
    libc: str
    architecture: str

    @property
    def name(self) -> str:
        return f"{self.python}-{self.libc}-{self.architecture}"

    @property
    def version(self) -> str:
        """The version of CPython, as in the name of its program: 3.13, 3.14t."""
        return f"3.{self.python.removeprefix('cp3')}"

    @property
    def python_tag(self) -> str:
        """Of the interpreter and its ABI (PEP 425): cp314-cp314t."""
        return f"{self.python.removesuffix('t')}-{self.python}"

    @property
    def triple(self) -> str:
        """Rust's name of the platform."""
        return f"{self.architecture}-unknown-linux-{ABIS[self.libc]}"

    @property
    def policy(self) -> str:
        return POLICIES[self.libc]

    @property
    def platform_tag(self) -> str:
        return ".".join(f"{tag}_{self.architecture}" for tag in TAGS[self.libc])

    @property
    def extension_suffix(self) -> str:
        """What the name of an extension module ends with, as this CPython looks for it."""
        digits = self.python.removeprefix("cp")
        # CPython tells musl from glibc from 3.11 on.
        abi = "gnu" if self.python == "cp310" else ABIS[self.libc]
        return f".cpython-{digits}-{self.architecture}-linux-{abi}.so"

    def wheel_name(self, version: str) -> str:
        return f"lockgate-{version}-{self.python_tag}-{self.platform_tag}.whl"


ALL = tuple(
    Target(python, libc, architecture)
    for libc in LIBCS
    for architecture in ARCHITECTURES
    for python in PYTHONS
)


def named(names: str) -> tuple[Target, ...]:
    """The targets of a list of names that is separated by blanks or commas; all of an empty one.

    `*` stands for each value: `cp313-*-x86_64`.
    """
    words = names.replace(",", " ").split()
    chosen: list[Target] = []
    for word in words:
        parts = word.split("-")
        found = [
            target
            for target in ALL
            if len(parts) == 3
            and all(
                part in ("*", value)
                for part, value in zip(parts, target.name.split("-"), strict=True)
            )
        ]
        if not found:
            raise UnknownTarget(word)
        chosen += [target for target in found if target not in chosen]
    return tuple(chosen) if words else ALL


def of_wheel(file_name: str) -> Target | None:
    """The target of a wheel by its file's name; None if it is of no target."""
    parts = file_name.removesuffix(".whl").split("-")
    if len(parts) != 5 or parts[0] != "lockgate":
        return None
    tags = "-".join(parts[2:])
    return next(
        (target for target in ALL if tags == f"{target.python_tag}-{target.platform_tag}"), None
    )
