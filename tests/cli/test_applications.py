"""How the application is named and found, and the errors if it is not."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from harness import APPS, run

TRACEBACK = "Traceback (most recent call last)"


@pytest.mark.parametrize(
    ("app", "body"),
    [
        ("hello:app", b"hello"),
        ("hello", b"hello"),
        ("only_application", b"hello"),
        ("only_factory", b"created"),
        ("only_factory:create_app()", b"created"),
        ("hello:Holder.app", b"hello"),
        ('hello:make("hi")', b"hi"),
        ('hello:make("ab", times=2)', b"abab"),
        ("hello:make('(),:')", b"(),:"),
        (str(APPS / "hello.py") + ":app", b"hello"),
        ("hello.py:app", b"hello"),
        ("hello.py", b"hello"),
    ],
)
def test_an_application_can_be_named_in_every_form(start, app, body):
    server = start(app)
    assert server.get("/").body == body


def test_a_file_elsewhere_can_import_its_neighbours(start, tmp_path):
    (tmp_path / "neighbour.py").write_text("from hello import app\n")
    shutil.copy(APPS / "hello.py", tmp_path / "hello.py")
    server = start(f"{tmp_path}/neighbour.py:app", chdir=Path("/"))
    assert server.get("/").body == b"hello"


def test_chdir_and_pythonpath_are_where_it_is_looked_for(start):
    assert start("hello:app", "--chdir", str(APPS), chdir=Path("/")).get("/").body == b"hello"
    assert start("hello:app", "--pythonpath", f"/nowhere,{APPS}", chdir=Path("/")).get("/").body


def test_the_console_script_does_the_same_as_the_module():
    script = Path(sys.executable).with_name("lockgate")
    assert script.exists()
    printed = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert printed.stdout == run("--version").stdout


@pytest.mark.parametrize("workers", ["1", "3"])
@pytest.mark.parametrize(
    ("app", "message"),
    [
        ("broken_import:app", "RuntimeError: the database address is missing"),
        ("missing_dependency:app", "No module named 'a_module_that_is_not_installed'"),
        ("broken_syntax:app", "SyntaxError"),
    ],
)
def test_an_application_that_fails_to_import_is_exit_3_with_one_traceback(
    tmp_path, app, message, workers
):
    directory = prepared(tmp_path)
    refused = boot(app, "-w", workers, chdir=directory)
    assert refused.returncode == 3, refused.stderr
    assert refused.stderr.count(message) == 1, refused.stderr
    assert refused.stderr.count(TRACEBACK) <= 1
    assert TRACEBACK in refused.stderr or app.startswith("broken_syntax")
    assert app.split(":")[0] + ".py" in refused.stderr


def test_the_traceback_is_clean_of_the_server(tmp_path):
    refused = boot("broken_import:app", chdir=prepared(tmp_path))
    files = re.findall(r'File "([^"]+)"', refused.stderr)
    assert files and all("broken_import.py" in name for name in files), files


def test_a_module_that_does_not_exist_is_exit_3_with_hints():
    refused = boot("helo:app", "-w", "3")
    assert refused.returncode == 3
    assert refused.stderr.count("No module named 'helo'") == 1
    assert "hello" in refused.stderr, "the nearest name"
    assert str(APPS) in refused.stderr, "the working directory"
    assert "sys.path" in refused.stderr


@pytest.mark.parametrize("workers", ["1", "3"])
@pytest.mark.parametrize(
    ("app", "parts"),
    [
        ("hello:ap", ["'ap'", "app"]),
        ("hello:Holder.ap", ["ap", "app"]),
        ("hello:not_callable", ["not_callable", "int"]),
        ("hello:make_nothing()", ["make_nothing", "None"]),
        ("hello:make()", ["make", "greeting"]),
        ("environment.py:application", ["application", "app"]),
        ("writing_nothing", []),
    ],
)
def test_an_application_that_is_not_there_is_exit_4_with_a_hint(tmp_path, app, parts, workers):
    directory = prepared(tmp_path)
    refused = boot(app, "-w", workers, chdir=directory)
    assert refused.returncode == 4, refused.stderr
    for part in parts:
        assert part in refused.stderr, refused.stderr
    assert TRACEBACK not in refused.stderr, refused.stderr


@pytest.mark.parametrize(
    "app", ["hello:app)", "hello:make(", "hello:make(1 +", "hello:make(x)", ""]
)
def test_an_application_name_that_cannot_be_parsed_is_reported_without_a_traceback(app):
    refused = boot(app)
    assert refused.returncode in (2, 4)
    assert TRACEBACK not in refused.stderr and "panicked" not in refused.stderr
    assert refused.stderr.strip()


def test_a_failed_boot_frees_the_port_and_never_sends_ready(tmp_path):
    refused = boot("broken_import:app", chdir=prepared(tmp_path))
    assert not re.search(r"\bready\b", refused.stderr)


def boot(app, *arguments, chdir=APPS):
    return run(app, "-b", "127.0.0.1:0", *arguments, chdir=chdir)


def prepared(tmp_path):
    """A copy of the small applications, with one that is not Python."""
    directory = tmp_path / "apps"
    shutil.copytree(APPS, directory, ignore=shutil.ignore_patterns("__pycache__"))
    (directory / "broken_syntax.py").write_text("def app(environ, start_response)\n    pass\n")
    (directory / "writing_nothing.py").write_text("answer = 42\n")
    return directory
