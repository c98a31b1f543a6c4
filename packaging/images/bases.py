"""What stands for the images of registries: roots with the same programs from Debian.

The paths of programs, the user and the environment are those of the image; what differs is said
beside each one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from machine.container import PATH
from machine.roots import Recipe, root

NONROOT = "nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin"


@dataclass(frozen=True)
class Image:
    """Layers, the topmost first, and how a container of them starts."""

    layers: tuple[Path, ...]
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    working_directory: str = "/"
    user: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    stop_signal: str = "SIGTERM"
    healthcheck: Healthcheck | None = None


@dataclass(frozen=True)
class Healthcheck:
    """The program that says whether a container is healthy; times are in seconds."""

    command: tuple[str, ...]
    interval: float = 30
    timeout: float = 30
    start_period: float = 0
    retries: int = 3


def image(name: str, layer: Path) -> Image:
    """The image that stands for `name`; `layer` is an empty directory for its changes."""
    recipe, make = BASES[name]
    directory = root(recipe)
    made = make(layer)
    return replace(made, layers=(layer, directory))


def _python(layer: Path, program: str) -> Image:
    # Python is in /usr/local, and pip installs there, as Debian's does without a virtualenv.
    programs = layer / "usr" / "local" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "python3"):
        (programs / name).symlink_to(program)
    environment = {"PATH": PATH, "LANG": "C.UTF-8", "PIP_BREAK_SYSTEM_PACKAGES": "1"}
    return Image((), environment, command=("python3",))


def _debian(layer: Path) -> Image:
    # Without a network apt-get can only confirm that a package is there.
    program = layer / "usr" / "local" / "bin" / "apt-get"
    program.parent.mkdir(parents=True)
    program.write_text(APT_GET)
    program.chmod(0o755)
    return Image((), command=("bash",))


def _distroless(layer: Path) -> Image:
    (layer / "etc").mkdir(parents=True)
    (layer / "etc" / "passwd").write_text(f"root:x:0:0:root:/root:/sbin/nologin\n{NONROOT}\n")
    (layer / "etc" / "group").write_text("root:x:0:\nnonroot:x:65532:\n")
    programs = layer / "usr" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "python3"):
        (programs / name).symlink_to("/usr/bin/python3.13")
    (layer / "tmp").mkdir(mode=0o1777)
    (layer / "tmp").chmod(0o1777)
    environment = {"PATH": PATH, "LANG": "C.UTF-8"}
    # As root starts with it, the user can be named by number.
    return Image((), environment, user="65532", entrypoint=("/usr/bin/python3.13",))


def _postgres(layer: Path) -> Image:
    # The image's script makes the database at the first start; this one reads the same variables.
    script = layer / "usr" / "local" / "bin" / "docker-entrypoint.sh"
    script.parent.mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("postgres_entrypoint.sh"), script)
    script.chmod(0o755)
    # Before the wrappers of Debian, which look for its clusters.
    programs = "/usr/lib/postgresql/17/bin"
    environment = {"PATH": f"{programs}:{PATH}", "PGDATA": "/var/lib/postgresql/data"}
    entrypoint = ("docker-entrypoint.sh",)
    return Image(
        (), environment, entrypoint=entrypoint, command=("postgres",), stop_signal="SIGINT"
    )


def _redis(layer: Path) -> Image:
    # The image's script becomes the user redis and switches protected mode off.
    script = layer / "usr" / "local" / "bin" / "docker-entrypoint.sh"
    script.parent.mkdir(parents=True)
    script.write_text(
        '#!/bin/sh\nexec setpriv --reuid=redis --regid=redis --clear-groups -- "$@"'
        " --protected-mode no\n"
    )
    script.chmod(0o755)
    return Image((), working_directory="/tmp", entrypoint=("docker-entrypoint.sh",))


APT_GET = """#!/bin/sh
test "$1" = install || exit 0
shift
for word; do
    case $word in -*) ;; *) dpkg-query --show "$word" || exit 100 ;; esac
done
"""
DISTROLESS = (
    *("base-files", "ca-certificates", "libbz2-1.0", "libc6", "libcrypt1", "libdb5.3t64"),
    *("libexpat1", "libffi8", "libgcc-s1", "liblzma5", "libncursesw6", "libpython3.13-minimal"),
    *("libpython3.13-stdlib", "libreadline8t64", "libsqlite3-0", "libssl3t64", "libstdc++6"),
    *("libtinfo6", "libuuid1", "netbase", "python3.13-minimal", "tzdata", "zlib1g"),
)
BASES: dict[str, tuple[Recipe, Callable[[Path], Image]]] = {
    "python:3.11-slim-bookworm": (
        Recipe("bookworm", ("ca-certificates", "python3", "python3-pip", "python3-venv")),
        lambda layer: _python(layer, "/usr/bin/python3.11"),
    ),
    "python:3.13-slim-trixie": (
        Recipe("trixie", ("ca-certificates", "python3", "python3-pip", "python3-venv")),
        lambda layer: _python(layer, "/usr/bin/python3.13"),
    ),
    # With python3-venv, which the Dockerfile installs: its apt-get finds nothing to do.
    "debian:trixie-slim": (
        Recipe("trixie", ("ca-certificates", "python3", "python3-pip", "python3-venv")),
        _debian,
    ),
    "gcr.io/distroless/python3-debian13:nonroot": (
        Recipe("trixie", DISTROLESS, variant="extract"),
        _distroless,
    ),
    "postgres:17": (Recipe("trixie", ("postgresql-17",)), _postgres),
    "redis:8": (Recipe("trixie", ("redis-server",)), _redis),
}
