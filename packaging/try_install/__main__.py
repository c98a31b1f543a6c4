"""Installs each artefact of a directory in an empty root, without a network, and serves Flask.

    PYTHONPATH=packaging python -m try_install dist/ [--only cp313] [--results results.json]

Wheels and source distributions are tried. Prints a row for each; exits with 1 if one has failed.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from machine import roots
from machine.container import PATH, Container, Options

from . import dependencies, visit
from .artefact import Artefact, interpreter, read

QUICK = {"CARGO_PROFILE_RELEASE_LTO": "off", "CARGO_PROFILE_RELEASE_OPT_LEVEL": "0"}
APPLICATION = Path(__file__).with_name("app.py")


@dataclasses.dataclass(frozen=True)
class Row:
    """One artefact in one root."""

    wheel: str
    python: str
    libc: str
    architecture: str
    root: str
    # "native" or "qemu-user".
    processor: str
    # "passed", "not run" or "failed".
    result: str
    detail: str
    seconds: float
    date: str

    def __str__(self) -> str:
        where = f"{self.root} ({self.processor})" if self.root else "no root"
        text = f"{self.result:8} {self.wheel}: {where}, {self.seconds:.0f} s"
        return f"{text}: {self.detail}" if self.detail else text


def main() -> int:
    arguments = parser().parse_args()
    if os.geteuid() != 0:
        print("try_install: run it as root: it makes root file systems", file=sys.stderr)
        return 2
    wheels = sorted(arguments.directory.glob("lockgate-*.whl"))
    wheels += sorted(arguments.directory.glob("lockgate-*.tar.gz"))
    wheels = [path for path in wheels if all(text in path.name for text in arguments.only)]
    if arguments.interpreters:
        arguments.interpreters = arguments.interpreters.resolve()
    if not wheels:
        print(f"try_install: no such artefact is in {arguments.directory}", file=sys.stderr)
        return 2
    rows = []
    for path in wheels:
        rows.append(attempt(path, arguments))
        print(rows[-1], flush=True)
    if arguments.results:
        text = json.dumps([dataclasses.asdict(row) for row in rows], indent=1)
        arguments.results.write_text(text + "\n", "utf-8")
    return any(row.result == "failed" for row in rows)


def parser() -> argparse.ArgumentParser:
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="try_install", description=summary)
    parser.add_argument("directory", type=Path, help="the directory of the wheels and the sources")
    parser.add_argument(
        "--only", action="append", default=[], metavar="TEXT", help="files with this in their name"
    )
    parser.add_argument(
        "--suite", help="another release of Debian for interpreters that are not its own: trixie"
    )
    parser.add_argument(
        "--interpreters",
        type=Path,
        metavar="DIRECTORY",
        help="interpreters that Debian does not have, for the processor of the wheels, in folders "
        "such as 3.12.11; those of pyenv are found without it",
    )
    parser.add_argument(
        "--sources",
        type=Path,
        metavar="DIRECTORY",
        help="tarballs such as Python-3.12.11.tar.xz, of which interpreters for musl are compiled; "
        "without one Debian's sources are taken",
    )
    parser.add_argument(
        "--quick-build",
        action="store_true",
        help="build sources without optimisation, which takes a tenth of the time",
    )
    parser.add_argument("--results", type=Path, help="also write the rows to this file, as JSON")
    parser.add_argument(
        "--cache", type=Path, default=roots.CACHE.parent, help="where roots and wheels are kept"
    )
    return parser


def attempt(path: Path, arguments: argparse.Namespace) -> Row:
    started = time.monotonic()
    root, processor, artefact = "", "native", None
    result, detail = "passed", ""
    try:
        artefact = read(path)
        place = interpreter(artefact, arguments.suite, arguments.interpreters, arguments.sources)
        processor = "qemu-user" if place.recipe.is_emulated else "native"
        directory = roots.root(place.recipe, arguments.cache / "roots")
        root = place.recipe.suite
        flask = dependencies.fetch(artefact, arguments.cache / "wheels")
        with tempfile.TemporaryDirectory(prefix="lockgate-wheels-") as wheels:
            for wheel in (path, *flask.glob("*.whl")):
                shutil.copy(wheel, wheels)
            options = Options(
                environment={
                    **{"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8"},
                    **(QUICK if arguments.quick_build else {}),
                },
                volumes={"/wheels": Path(wheels), **place.volumes},
            )
            with Container([directory], ["sleep", "infinity"], options) as container:
                serve(container, artefact, place.program, Path(wheels))
    except roots.Unavailable as reason:
        result, detail = "not run", str(reason)
    except visit.Failed as reason:
        result, detail = "failed", str(reason)
    return Row(
        wheel=path.name,
        python=artefact.version if artefact else "",
        libc=artefact.libc if artefact else "",
        architecture=artefact.machine if artefact else "",
        root=root,
        processor=processor,
        result=result,
        detail=detail,
        seconds=round(time.monotonic() - started, 1),
        date=datetime.date.today().isoformat(),
    )


def serve(container: Container, artefact: Artefact, python: str, scratch: Path) -> None:
    visit.install(container, python, f"/wheels/{artefact.path.name}")
    container.inside("/srv/app").mkdir()
    shutil.copy(APPLICATION, container.inside("/srv/app/app.py"))
    in_app = dataclasses.replace(container.options, working_directory="/srv/app")
    container.options = in_app
    visit.look(container, artefact.path.name.removesuffix(".tar.gz").split("-")[1])
    # With a GIL they are refused.
    loops = ["--event-loops", "2"] if artefact.version != artefact.number else []
    server = visit.start(container, scratch / "server.log", *loops)
    try:
        visit.ask(container, server, "version 1")
        visit.reload(container, server, "version 2")
        visit.ask(container, server, "version 2")
        visit.stop(container, server)
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()


if __name__ == "__main__":
    sys.exit(main())
