"""Cases of `lockgate convert`: a directory each, with a source and what is expected of it.

`python tests/convert/cases.py [NAME…]` writes the expected files again; read their diff.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

#: As in harness.process, which the program beside the tests does not import.
SAFE_PATH = "-P" if sys.version_info >= (3, 11) else "-I"


HERE = Path(__file__).resolve().parent

#: The servers whose configurations there are cases of.
KINDS = tuple(
    kind for kind in ("uwsgi", "gunicorn", "granian", "waitress") if (HERE / kind).is_dir()
)

#: Files of a case that are not part of its source.
EXPECTED = ("expected.toml", "expected.report", "case.json")


@dataclass(frozen=True)
class Case:
    """One directory. `case.json` may name arguments, variables, and how the server is asked."""

    directory: Path
    arguments: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    #: For a case that is served: see `test_served.py`.
    serves: dict[str, object] | None = None

    @property
    def name(self) -> str:
        return self.directory.name

    def expected(self, kind: str) -> str:
        return (self.directory / f"expected.{kind}").read_text()


def cases(kind: str) -> list[Case]:
    return [case(path) for path in sorted((HERE / kind).iterdir()) if path.is_dir()]


def case(directory: Path) -> Case:
    described = directory / "case.json"
    description = json.loads(described.read_text()) if described.exists() else {}
    if "arguments" not in description:
        [source] = [path for path in directory.iterdir() if path.stem == "uwsgi"]
        description["arguments"] = [source.name]
    return Case(directory, **description)


def place(case: Case, directory: Path) -> Path:
    """Copies the source of a case, under a path that no report has otherwise."""
    target = directory / "case"
    shutil.copytree(case.directory, target, ignore=shutil.ignore_patterns(*EXPECTED))
    return target


def convert(case: Case, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SAFE_PATH, "-m", "lockgate", "convert", *arguments, *case.arguments],
        cwd=directory,
        env={
            "PATH": os.defpath,
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            **case.environment,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def outputs(case: Case, directory: Path) -> tuple[str, str]:
    """The file and the report, with DIR for the directory of the source."""
    source = place(case, directory)
    result = convert(case, source)
    assert result.returncode == 0, result.stderr
    return (
        result.stdout.replace(str(source), "DIR"),
        result.stderr.replace(str(source), "DIR"),
    )


def main(names: list[str]) -> None:
    for kind in KINDS:
        for found in cases(kind):
            if names and found.name not in names:
                continue
            with tempfile.TemporaryDirectory() as directory:
                toml, report = outputs(found, Path(os.path.realpath(directory)))
            (found.directory / "expected.toml").write_text(toml)
            (found.directory / "expected.report").write_text(report)


if __name__ == "__main__":
    main(sys.argv[1:])
