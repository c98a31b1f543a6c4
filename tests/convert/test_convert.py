"""`lockgate convert` makes what is expected of each case, and forgets no key."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import cases as library  # noqa: E402

ALL = [case for kind in library.KINDS for case in library.cases(kind)]


@pytest.fixture(params=ALL, ids=[case.name for case in ALL])
def case(request):
    return request.param


def test_the_file_and_the_report_are_as_expected(case, tmp_path):
    toml, report = library.outputs(case, Path(os.path.realpath(tmp_path)))
    assert toml == case.expected("toml")
    assert report == case.expected("report")


def test_lockgate_accepts_the_file(case, tmp_path):
    path = tmp_path / "lockgate.toml"
    path.write_text(case.expected("toml").replace("DIR", str(tmp_path)))
    result = subprocess.run(
        [sys.executable, library.SAFE_PATH, "-m", "lockgate", "-c", str(path), "--print-config"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
    )
    if "no application is named" in case.expected("report"):
        assert "no application is given" in result.stderr
        assert result.stderr.count("\n") == 1, result.stderr
    else:
        assert result.returncode == 0, result.stderr


def test_every_key_has_an_entry(case):
    report = case.expected("report")
    entries = re.findall(r"^  (\S+) line (\d+): ", report, re.MULTILINE)
    reported = {(file, int(line)) for file, line in entries}
    assert sum(
        map(int, re.findall(r"(\d+) (?!keys?:)[a-z ]+(?=,|$)", report.splitlines()[0]))
    ) == int(report.split()[0])
    for path in case.directory.rglob("*.ini"):
        name = os.path.relpath(path, case.directory)
        if name not in {file for file, _ in reported}:
            continue
        for number, line in ini_keys(path.read_text()):
            assert (name, number) in reported, f"{name} line {number}: {line}"


def ini_keys(text):
    """Lines with keys, in the section that uWSGI reads."""
    section = None
    for number, line in enumerate(text.splitlines(), 1):
        heading = re.fullmatch(r"\s*\[(.*)\]\s*", line)
        if heading:
            section = heading[1]
        elif section == "uwsgi" and line.strip() and line.strip()[0] not in ";#":
            yield number, line
