"""The files of contrib/docker: what linters say, and that docs/docker.md shows them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from harness.requirements import missing, require_module

REPOSITORY = Path(__file__).parents[2]
FILES = REPOSITORY / "contrib" / "docker"
PAGE = REPOSITORY / "docs" / "docker.md"
DOCKERFILES = ("Dockerfile", "distroless.Dockerfile")
# A program of the virtualenv, or one of the machine.
SCRIPTS = Path(sys.executable).parent


def program(name):
    found = shutil.which(name, path=str(SCRIPTS)) or shutil.which(name)
    if found is None:
        missing(f"the program {name} is not installed (requirements/dev.txt)")
    return found


@pytest.mark.parametrize("name", DOCKERFILES)
def test_hadolint_accepts_the_dockerfile(name):
    # DL3008: a version of a Debian package that is named disappears from the mirrors.
    command = [program("hadolint"), "--ignore", "DL3008", str(FILES / name)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_hadolint_would_refuse_a_shell_as_process_one(tmp_path):
    text = (FILES / "Dockerfile").read_text("utf-8").replace('CMD ["lockgate"]', "CMD lockgate")
    (tmp_path / "Dockerfile").write_text(text, "utf-8")
    command = [program("hadolint"), str(tmp_path / "Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "DL3025" in done.stdout


def test_compose_lint_finds_nothing_of_high_severity():
    command = [program("compose-lint"), "--fail-on", "high", str(FILES / "compose.yaml")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", DOCKERFILES)
def test_every_instruction_can_be_performed_and_the_user_is_a_number(name):
    require_module("dockerfile")
    from images import bases, dockerfile

    stages = dockerfile.read(FILES / name)
    known = {*bases.BASES, *(stage.name for stage in stages)}
    assert [stage.base for stage in stages if stage.base not in known] == []
    last = {entry.name: entry for entry in stages[-1].instructions}
    # Kubernetes can check `runAsNonRoot` only of a number.
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last["USER"].words[0])
    assert last["CMD"].is_list
    assert last["HEALTHCHECK"].is_list


def test_an_unknown_instruction_is_refused(tmp_path):
    require_module("dockerfile")
    from images import dockerfile

    (tmp_path / "Dockerfile").write_text("FROM debian:trixie-slim\nONBUILD RUN true\n", "utf-8")
    with pytest.raises(dockerfile.Unsupported, match="line 2: ONBUILD"):
        dockerfile.read(tmp_path / "Dockerfile")


@pytest.mark.parametrize(
    ("path", "is_ignored"),
    [
        ("app.py", False),
        ("lockgate.toml", False),
        ("wheels/lockgate-1.whl", False),
        (".env", True),
        ("shop/.env.production", True),
        ("secrets/database_password", True),
        ("distroless.Dockerfile", True),
        ("shop/__pycache__/views.cpython-313.pyc", True),
        (".git/config", True),
    ],
)
def test_the_context_has_what_is_needed_and_no_secrets(path, is_ignored):
    from images.ignored import Ignored

    assert (path in Ignored.of(FILES)) is is_ignored


@pytest.mark.parametrize("name", ["app.py", "lockgate.toml", "compose.yaml", *DOCKERFILES])
def test_the_page_shows_the_file(name):
    block = rf'^```\w+ title="{re.escape(name)}"\n(.*?)^```$'
    shown = re.search(block, PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert shown is not None
    assert shown[1] == (FILES / name).read_text("utf-8")
