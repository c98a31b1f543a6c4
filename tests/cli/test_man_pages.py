"""Man pages: complete, correct for the formatters, and found where the wheel has put them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from harness import run
from harness.requirements import require_program
from lockgate.__main__ import COMMANDS

MAN = Path(sys.prefix, "share", "man")
PAGES = ["man1/lockgate.1", "man5/lockgate.toml.5", "man1/lockgate-help.1"]
PAGES += [f"man1/lockgate-{name}.1" for name in COMMANDS]


def formatted(page: str) -> str:
    """As on a terminal, without bold and underlined letters."""
    command = [
        require_program("mandoc", package="mandoc"),
        "-Tascii",
        "-Owidth=78",
        str(MAN / page),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    return re.sub(".\b", "", done.stdout)


def test_every_command_has_a_page_and_every_page_is_correct():
    found = sorted(str(path.relative_to(MAN)) for path in MAN.glob("man?/lockgate*"))
    assert found == sorted(PAGES)
    lint = [
        require_program("mandoc", package="mandoc"),
        "-Tlint",
        "-Wstyle",
        *(str(MAN / page) for page in PAGES),
    ]
    done = subprocess.run(lint, capture_output=True, text=True, timeout=20)
    complaints = [
        # The pages have no date: the same source gives the same page at any time.
        line
        for line in done.stdout.splitlines()
        if "missing date" not in line
    ]
    assert complaints == []


def test_groff_has_no_warnings():
    require_program("groff", package="groff-base")
    for page in PAGES:
        command = ["groff", "-man", "-Tutf8", "-K", "utf8", "-ww", "-z", str(MAN / page)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        assert (done.returncode, done.stderr) == (0, ""), page


def test_the_page_of_the_file_has_every_setting():
    text = formatted("man5/lockgate.toml.5")
    keys = re.findall(r"^([a-z0-9_]+) = ", run("--print-config", "x:y").stdout, re.MULTILINE)
    assert len(keys) > 100
    missing = [key for key in keys if not re.search(rf"^ +{key}\b", text, re.MULTILINE)]
    assert missing == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_of_a_command_has_its_flags(name):
    text = formatted(f"man1/lockgate-{name}.1")
    for flag in re.findall(r"--[a-z][a-z-]+", run(name, "-h").stdout.partition("\nexamples:")[0]):
        assert flag in text, f"{name}: {flag}"
    for heading in ("NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "EXAMPLES", "SEE ALSO"):
        assert re.search(rf"^{heading}$", text, re.MULTILINE), heading


def test_man_finds_the_pages_of_an_active_virtualenv():
    require_program("man", package="man-db")
    path = f"{sys.prefix}/bin:{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": os.environ.get("HOME", "/")}
    for name, page in [("lockgate-ctl", "man1/lockgate-ctl.1"), ("lockgate.toml", PAGES[1])]:
        done = subprocess.run(
            ["man", "--where", name], env=environment, capture_output=True, text=True, timeout=20
        )
        assert done.stdout.strip() == str(MAN / page), done


def test_the_command_man_shows_a_page_and_says_where_it_is(tmp_path):
    fake = tmp_path / "man"
    fake.write_text('#!/bin/sh\necho shown: "$@"\nexit 3\n')
    fake.chmod(0o755)
    for arguments, page in [
        ([], "lockgate.1"),
        (["ctl"], "lockgate-ctl.1"),
        (["lockgate.toml"], "lockgate.toml.5"),
    ]:
        said = run("man", *arguments, environment={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
        assert said.returncode == 3 and said.stdout.startswith("shown: /")
        assert said.stdout.strip().endswith(f"/lockgate/manual/{page}")
        where = run("man", "--path", *arguments).stdout.strip()
        assert Path(where).is_file() if arguments else Path(where, "lockgate.1").is_file()
    said = run("man", environment={"PATH": str(tmp_path / "empty")})
    assert said.returncode == 1 and "man is not installed" in said.stderr
    said = run("man", "reload")
    assert said.returncode == 2 and "reload: unknown value" in said.stderr
