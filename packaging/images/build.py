"""Performs the instructions of a Dockerfile, each RUN in a container, and makes its image."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from machine.container import Container, Options

from . import bases
from .bases import Healthcheck, Image
from .dockerfile import Instruction, Stage, Unsupported, expand, read, seconds

SHELL = ("/bin/sh", "-c")


class Failed(Exception):
    """An instruction has failed; the text has its line and output."""


@dataclass(frozen=True)
class Build:
    """What `docker build` is given."""

    context: Path
    # An empty directory for the layers.
    layers: Path
    arguments: Mapping[str, str] = field(default_factory=dict)
    # Variables that only RUN sees: pip has no network.
    environment: Mapping[str, str] = field(default_factory=dict)


def build(path: Path, how: Build) -> Image:
    """The image of the last stage."""
    images: dict[str, Image] = {}
    for number, stage in enumerate(read(path, how.arguments)):
        images[stage.name] = _stage(stage, number, images, how)
    return images[stage.name]


def _stage(stage: Stage, number: int, images: Mapping[str, Image], how: Build) -> Image:
    changes = how.layers / str(number)
    (changes / "upper").mkdir(parents=True)
    if stage.base in images:
        image = images[stage.base]
    elif stage.base in bases.BASES:
        layer = how.layers / f"{number}-base"
        layer.mkdir()
        image = bases.image(stage.base, layer)
    else:
        raise Unsupported(f"no root stands for {stage.base}; bases.py has those that are known")
    lower = image.layers
    image = replace(image, environment=dict(image.environment))
    for instruction in stage.instructions:
        if instruction.name == "RUN":
            _run(instruction, image, lower, changes, how)
        elif instruction.name == "COPY":
            _copy(instruction, image, lower, changes, images, how)
        else:
            image = configure(instruction, image)
    return replace(image, layers=(changes / "upper", *lower))


def configure(instruction: Instruction, image: Image) -> Image:
    """What an instruction changes in the configuration of an image."""
    words = [expand(word, image.environment) for word in instruction.words]
    match instruction.name:
        case "ENV":
            pairs = zip(words[::2], words[1::2], strict=True)
            added = {name: "".join(shlex.split(value)) for name, value in pairs}
            return replace(image, environment={**image.environment, **added})
        case "WORKDIR":
            return replace(image, working_directory=str(Path(image.working_directory, words[0])))
        case "USER":
            return replace(image, user=words[0])
        case "ENTRYPOINT":
            # As with Docker, the CMD of the base image belongs to its ENTRYPOINT.
            return replace(image, entrypoint=_command(instruction), command=())
        case "CMD":
            return replace(image, command=_command(instruction))
        case "STOPSIGNAL":
            return replace(image, stop_signal=words[0])
        case "HEALTHCHECK":
            return replace(image, healthcheck=_healthcheck(instruction))
        case "EXPOSE" | "LABEL":
            return image
    raise Unsupported(f"line {instruction.line}: {instruction.name}")


def _healthcheck(instruction: Instruction) -> Healthcheck | None:
    if instruction.words[0].upper() == "NONE":
        return None
    words = instruction.words[1:]
    command = words if instruction.is_list else (*SHELL, " ".join(words))
    flags = dict(instruction.flags)
    return Healthcheck(
        command=command,
        interval=seconds(flags.get("interval", "30s")),
        timeout=seconds(flags.get("timeout", "30s")),
        start_period=seconds(flags.get("start-period", "0ms")),
        retries=int(flags.get("retries", "3")),
    )


def _command(instruction: Instruction) -> tuple[str, ...]:
    if instruction.is_list:
        return instruction.words
    return (*SHELL, instruction.words[0])


def _run(
    instruction: Instruction, image: Image, lower: tuple[Path, ...], changes: Path, how: Build
) -> None:
    bound, caches = _mounts(instruction, how)
    options = Options(
        environment={"HOME": "/root", **image.environment, **how.environment},
        working_directory=image.working_directory,
        user=user(image, lower, changes),
        volumes=bound,
        # A cache that is empty at first, as on a new machine.
        tmpfs=caches,
    )
    # The directory of WORKDIR is made when it is first needed.
    _make_directory(image, changes)
    output = how.layers / "output"
    output.unlink(missing_ok=True)
    command = _command(instruction)
    with Container(lower, command, options, changes=changes, output=output) as container:
        status = container.wait(900)
        if status != 0:
            text = container.log()[-2000:]
            raise Failed(f"line {instruction.line}: exit status {status}: {text}")


def _mounts(instruction: Instruction, how: Build) -> tuple[dict[str, Path], list[str]]:
    """The directories of the context that RUN sees, and its caches."""
    bound: dict[str, Path] = {}
    caches = []
    # The parser gives flags of one name one by one.
    for name, value in instruction.flags:
        mount = dict(pair.partition("=")[::2] for pair in value.split(","))
        match name, mount.get("type"):
            case "mount", "cache":
                caches.append(mount["target"])
            case "mount", "bind":
                bound[mount["target"]] = how.context / mount["source"]
            case _:
                raise Unsupported(f"line {instruction.line}: --{name}={value}")
    return bound, caches


def _copy(
    instruction: Instruction,
    image: Image,
    lower: tuple[Path, ...],
    changes: Path,
    images: Mapping[str, Image],
    how: Build,
) -> None:
    *paths, destination = (expand(word, image.environment) for word in instruction.words)
    place = str(Path(image.working_directory, destination))
    if destination.endswith(("/", ".")):
        place += "/"
    flags = dict(instruction.flags)
    layers = images[flags["from"]].layers if "from" in flags else ()
    for name in flags:
        if name not in ("from", "chown", "chmod"):
            raise Unsupported(f"line {instruction.line}: --{name}")
    (changes / "work").mkdir(exist_ok=True)
    overlay = f"lowerdir={':'.join(map(str, lower))}"
    overlay += f",upperdir={changes}/upper,workdir={changes}/work"
    copying = [sys.executable, "-m", "images.copying", "/mnt/root"]
    copying += ["/mnt/source" if layers else str(how.context)]
    copying += [flags.get("chown", ""), flags.get("chmod", "")]
    lines = [
        "set -e",
        "mount -t tmpfs tmpfs /mnt",
        "mkdir /mnt/root /mnt/source",
        f"mount -t overlay overlay -o {shlex.quote(overlay)} /mnt/root",
    ]
    if layers:
        # An overlay without a place for changes needs two directories.
        merged = ":".join([*map(str, layers), "/mnt/source"])
        lines.append(f"mount -t overlay overlay -o {shlex.quote(f'lowerdir={merged}')} /mnt/source")
    lines.append(f"exec {shlex.join([*copying, place, *paths])}")
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", "\n".join(lines)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[1]), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    if done.returncode != 0:
        raise Failed(f"line {instruction.line}: {done.stderr.strip()[-1000:]}")


def _make_directory(image: Image, changes: Path) -> None:
    (changes / "upper" / image.working_directory.lstrip("/")).mkdir(parents=True, exist_ok=True)


def user(image: Image, lower: tuple[Path, ...], changes: Path | None = None) -> tuple[int, int]:
    """The ids of USER; names are those of the image's /etc/passwd."""
    if not image.user:
        return (0, 0)
    name, _, group = image.user.partition(":")
    if name.isdigit() and (not group or group.isdigit()):
        return (int(name), int(group or 0))
    layers = [*([changes / "upper"] if changes else []), *lower]
    for layer in layers:
        if (layer / "etc" / "passwd").exists():
            for line in (layer / "etc" / "passwd").read_text("utf-8").splitlines():
                entry = line.split(":")
                if entry[0] == name:
                    return (int(entry[2]), int(entry[3]))
            break
    raise Failed(f"no user {json.dumps(name)} in the image")
