"""Every option of the other servers is known: none can be dropped for want of a name."""

import json
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
from harness.process import SAFE_PATH
from lockgate.convert.tables import table
from lockgate.convert.uwsgi import mapping, options

#: Names from the help and the tables of released versions.
NAMES = json.loads(Path(__file__).with_name("names.json").read_text())


def test_each_name_of_uwsgi_is_in_one_place():
    data = json.loads(
        resources.files("lockgate.convert.uwsgi").joinpath("options.json").read_text()
    )
    names = data["mapped"].split()
    for group in data["groups"]:
        assert group["advice"] and group["options"], group["title"]
        names += group["options"].split()
    assert len(names) == len(set(names))
    assert len(names) > 1300


def test_each_name_of_uwsgi_that_code_decides_is_decided(tmp_path):
    """One file with every name: the invariant of the conversion checks the rest."""
    known = options.names()
    readers = {"ini", "xml", "xmlconfig", "yaml", "yml", "json", "js", "config", "include"}
    skipped = readers | {"inherit", "set", "set-placeholder", "set-ph", "declare-option"}
    skipped |= {"declare-option2"} | {name for name in known.advice if re.match("if|for", name)}
    for value in ("1", "", "x", "0", "a=b,c", "-1", "99999999999999999999"):
        names = sorted({*known.mapped, *known.advice} - skipped)
        # No server can listen twice at an address.
        own = dict.fromkeys(("stats", "stats-server"), value and f"{value}.stats")
        lines = [f"{name} = {own.get(name, value)}" for name in names]
        (tmp_path / "all.ini").write_text("[uwsgi]\n" + "\n".join(lines) + "\n")
        result = subprocess.run(
            [sys.executable, SAFE_PATH, "-m", "lockgate", "convert", "--json", "all.ini"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert result.returncode == 0, result.stderr[-2000:]
        document = json.loads(result.stdout)
        assert {entry["key"] for entry in document["keys"]} >= known.mapped
        assert len(document["keys"]) == len(lines)
        assert document["counts"]["unknown"] == 0
        (tmp_path / "lockgate.toml").write_text(document["toml"])
        shown = subprocess.run(
            [sys.executable, SAFE_PATH, "-m", "lockgate", "--print-config", "app:app"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert shown.returncode == 0, f"{value!r}: {shown.stderr}"
    assert mapping.MAPPINGS


@pytest.mark.parametrize("server", NAMES)
def test_every_name_that_a_server_lists_itself_is_known(server):
    known = options.names() if server.startswith("uWSGI") else table(server.split()[0]).rows
    assert [name for name in NAMES[server].split() if name not in known] == []
