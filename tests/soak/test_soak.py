"""A short soak, and that the soak finds what is wrong.

SOAK_SECONDS says how long the soak itself lasts; its drills take as long again as a minute.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = int(os.environ.get("SOAK_SECONDS", "60"))


def soak(*arguments, within):
    return subprocess.run(
        [sys.executable, "-m", "soak", *arguments],
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=within,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 600)
def test_no_byte_is_wrong_no_deploy_is_seen_and_nothing_leaks():
    ended = soak("--seconds", str(SECONDS), within=SECONDS + 500)
    print(ended.stdout)
    assert ended.returncode == 0, ended.stdout


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("sabotage", "finding"),
    [
        ("body", "which differ from byte"),
        ("memory", "MiB more"),
        ("descriptors", "more descriptors"),
        ("death", "the processes are"),
        ("log", "lines in the access log"),
    ],
)
def test_the_soak_finds_an_application_that(sabotage, finding):
    ended = soak(
        "--sabotage", sabotage, "--no-drills", "--only", "plain", "--seconds", "10", "--seed", "5",
        within=200,
    )  # fmt: skip
    assert ended.returncode == 1, ended.stdout
    assert finding in ended.stdout
    assert "again with --seed 5" in ended.stdout
