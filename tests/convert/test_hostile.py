"""Hostile and broken configurations: a clear error with exit code 1, soon, and no file."""

import os
import subprocess
import sys
import time

import pytest
from harness.patience import eventually
from harness.process import SAFE_PATH

LINE = "x" * 1_000_000

# Files by name; the first one is converted. Then a part of the message.
CASES = {
    "a file that includes itself": ({"a.ini": "[uwsgi]\ninclude = a.ini\n"}, "includes itself"),
    "two files that include each other": (
        {"a.ini": "[uwsgi]\nini = b.ini\n", "b.ini": "[uwsgi]\nini = a.ini\n"},
        "b.ini line 2: a.ini: includes itself",
    ),
    "files that inherit each other": (
        {"a.ini": "[uwsgi]\ninherit = b.ini\n", "b.ini": "[uwsgi]\ninherit = b.ini\n"},
        "more than 100 files are included",
    ),
    "many includes": (
        {
            "a.ini": "[uwsgi]\nfor-times = 500\ninclude = b.ini\nendfor =\n",
            "b.ini": "[uwsgi]\na=1\n",
        },
        "more than 100 files are included",
    ),
    "a file that is missing": ({}, "a.ini: No such file or directory"),
    "an include that is missing": (
        {"a.ini": "[uwsgi]\ninclude = gone.ini\n"},
        "a.ini line 2: gone.ini: No such file or directory",
    ),
    "@() of a file that is missing": (
        {"a.ini": "[uwsgi]\nenv = KEY=@(secret)\n"},
        "a.ini line 2: @(secret): secret: No such file or directory",
    ),
    "@() of a device": (
        {"a.ini": "[uwsgi]\nenv = KEY=@(/dev/zero)\n"},
        "/dev/zero: is not a regular file",
    ),
    "@() of a command": (
        {"a.ini": "[uwsgi]\nenv = KEY=@(exec://touch made)\n"},
        "only files are read",
    ),
    "@() of a large file": (
        {"a.ini": "[uwsgi]\nenv = KEY=@(large)\n", "large": "y\n" * 1_000_000},
        "large: has more than 1048576 bytes",
    ),
    "an include of a command": (
        {"a.ini": "[uwsgi]\ninclude = exec://touch made\n"},
        "is not a file",
    ),
    "an include from the network": (
        {"a.ini": "[uwsgi]\nini = http://127.0.0.1:1/a.ini\n"},
        "is not a file",
    ),
    "a file without an end": ({"a.ini": None}, "is not a regular file"),
    "a large file": ({"a.ini": "[uwsgi]\n" + "; x\n" * 300_000}, "has more than 1048576 bytes"),
    "a long line": ({"a.ini": f"[uwsgi]\nmodule = {LINE}\n"}, "line 2: has 1000009 bytes"),
    "a binary file": ({"a.ini": "\x7fELF\0\1\2"}, "is binary"),
    "a loop without an end": (
        {"a.ini": "[uwsgi]\nfor-times = 999999999999\nenv = A=%(_)\nendfor =\n"},
        "for-times = 999999999999: at most 10000",
    ),
    "loops that make many options": (
        {"a.ini": "[uwsgi]\n" + "for-times = 9999\nenv = A=%(_)\nendfor =\n" * 9},
        "more than 10000 options",
    ),
    "a loop that repeats a long value": (
        {"a.ini": f"[uwsgi]\nfor = {'a ' * 20_000}\nenv = A=%(_){'b' * 60_000}\nendfor =\n"},
        "line 3: all values have more than 8388608 characters",
    ),
    "an option that multiplies its argument": (
        {"a.ini": f"[uwsgi]\ndeclare-option = k=env={'$1' * 20_000}\nk = {'a' * 60_000}\n"},
        "line 3: the option k: a value grows beyond 65536 characters",
    ),
    "an option with many arguments": (
        {"a.ini": f"[uwsgi]\ndeclare-option = k={'a=$;' * 9_000}\nk = {'a ' * 30_000}\n"},
        "more than 50000 placeholders",
    ),
    "a long value in many values": (
        {"a.ini": f"[uwsgi]\nk = {'b' * 60_000}\n" + "env = A=%(k)\n" * 9_000},
        "all values have more than 8388608 characters",
    ),
    "a loop over a device": (
        {"a.ini": "[uwsgi]\nfor-readline = /dev/zero\nenv = A=%(_)\nendfor =\n"},
        "is not a regular file",
    ),
    "a loop over a directory": (
        {"a.ini": "[uwsgi]\nfor-readline = .\nenv = A=%(_)\nendfor =\n"},
        "is not a regular file",
    ),
    "a placeholder that contains itself": (
        {"a.ini": "[uwsgi]\na = x%(a)%(a)\n"},
        "line 2: the value of a ",
    ),
    "placeholders that double": (
        {"a.ini": "[uwsgi]\n" + "".join(f"k{n} = -%(k{n + 1})%(k{n + 1})\n" for n in range(90))},
        "",
    ),
    "a condition in a condition": (
        {"a.ini": "[uwsgi]\nif-exists = /\nif-env = PATH\nmaster = 1\nendif =\nendif =\n"},
        "line 3: if-env inside if-exists (a.ini line 2)",
    ),
    "a pattern that is none": (
        {"a.ini": "[uwsgi]\nif-hostname-match = (\nmaster = 1\nendif =\n"},
        "line 2: (:",
    ),
    "no section": ({"a.ini": "module = app\n"}, "has no section [uwsgi]"),
    "no name of a format": ({"a.conf": "[uwsgi]\n"}, "the format is unknown"),
    "JSON that is none": (
        {"a.json": '{"uwsgi": {\n"master": nope}}'},
        "a.json line 2: is not JSON",
    ),
    "deep JSON": ({"a.json": '{"uwsgi": ' + "[" * 60_000}, "is not JSON"),
    "deep JSON that uWSGI ignores": (
        {"a.json": '{"uwsgi": {"k": ' + '{"a": ' * 600 + "1" + "}" * 602},
        "k: has too many objects inside each other",
    ),
    "JSON with a large number": (
        {"a.json": '{"uwsgi": {"processes": ' + "9" * 5000 + "}}"},
        "is not JSON",
    ),
    "JSON without uwsgi": ({"a.json": "[1, 2]"}, 'has no object "uwsgi"'),
    "YAML with a mapping in a mapping": (
        {"a.yaml": "uwsgi:\n  master: true\n    deep: 1\n"},
        "a.yaml line 3: uWSGI's YAML is one mapping",
    ),
    "YAML with an alias": ({"a.yaml": "uwsgi:\n  module: &x app\n"}, "a.yaml line 2: & begins"),
    "XML that is none": ({"a.xml": "<uwsgi><master></uwsgi>"}, "a.xml line 1: is not XML"),
    "XML with entities": (
        {
            "a.xml": '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
            + "".join(f'<!ENTITY a{n} "&a{n - 1 if n else ""};{"&a;" * 9}">' for n in range(9))
            + "]><uwsgi><module>&a8;</module></uwsgi>"
        },
        "declares an entity",
    ),
    "XML with a file as an entity": (
        {
            "a.xml": '<!DOCTYPE x [<!ENTITY a SYSTEM "/etc/passwd">]>'
            "<uwsgi><module>&a;</module></uwsgi>"
        },
        "declares an entity",
    ),
    "deep XML": ({"a.xml": "<uwsgi>" + "<a>" * 9000}, "more than 100 elements"),
    "XML of something else": ({"a.xml": "<html><body/></html>"}, "has no element <uwsgi>"),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_with_the_reason(name, tmp_path):
    files, message = CASES[name]
    for file, content in files.items():
        if content is None:
            os.mkfifo(tmp_path / file)
        else:
            (tmp_path / file).write_text(content)
    source = next(iter(files), "a.ini")
    began = time.monotonic()
    result = convert(tmp_path, source, "-o", "lockgate.toml")
    assert time.monotonic() - began < 15
    assert "Traceback" not in result.stderr, result.stderr[-2000:]
    if message:
        assert result.returncode == 1, result.stderr[-2000:]
        assert message in result.stderr
        assert result.stderr.startswith("lockgate: ")
        assert not (tmp_path / "lockgate.toml").exists()
    assert not (tmp_path / "made").exists(), "a command was executed"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("workers = 1 / 0\n", "ZeroDivisionError: division by zero"),
        ("import os\nos._exit(7)\n", "ended the process that executed it (exit code 7)"),
        ("import os\nos.kill(os.getpid(), 9)\n", "(signal 9)"),
        ("workers =\n", "line 1: is not Python: invalid syntax"),
    ],
)
def test_a_conf_that_fails_is_reported_once(content, message, tmp_path):
    (tmp_path / "gunicorn.conf.py").write_text(content)
    result = convert(tmp_path, "gunicorn.conf.py")
    assert result.returncode == 1
    assert result.stderr.startswith("lockgate: gunicorn.conf.py")
    assert result.stderr.count(message) == 1
    assert result.stdout == ""


def test_a_conf_that_hangs_is_ended(tmp_path):
    (tmp_path / "gunicorn.conf.py").write_text(
        "import os, subprocess, time\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        "open('child', 'w').write(str(child.pid))\n"
        "time.sleep(600)\n"
    )
    program = (
        "import sys; from lockgate.convert import command, gunicorn; gunicorn.DEADLINE = 2; "
        "sys.exit(command.main(['gunicorn.conf.py']))"
    )
    result = subprocess.run(
        [sys.executable, SAFE_PATH, "-c", program],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1
    assert result.stderr == "lockgate: gunicorn.conf.py: still ran after 2 s\n"
    child = int((tmp_path / "child").read_text())
    eventually(lambda: not is_running(child), what="the program that the file has started ends")


def is_running(pid):
    try:
        state = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_what_a_conf_prints_does_not_reach_the_file(tmp_path):
    (tmp_path / "gunicorn.conf.py").write_text("print('chatter')\nworkers = 2\n")
    result = convert(tmp_path, "gunicorn.conf.py")
    assert result.returncode == 0
    assert "chatter" in result.stderr
    assert "chatter" not in result.stdout


def test_an_existing_file_is_not_replaced(tmp_path):
    (tmp_path / "a.ini").write_text("[uwsgi]\nmodule = app\n")
    (tmp_path / "lockgate.toml").write_text("# mine\n")
    result = convert(tmp_path, "a.ini", "-o", "lockgate.toml")
    assert result.returncode == 1
    assert result.stderr == "lockgate: lockgate.toml: exists; --force replaces it\n"
    assert (tmp_path / "lockgate.toml").read_text() == "# mine\n"
    result = convert(tmp_path, "a.ini", "-o", "lockgate.toml", "--force")
    assert result.returncode == 0
    assert 'app = "app:application"' in (tmp_path / "lockgate.toml").read_text()


def test_control_characters_do_not_reach_the_terminal_or_break_the_file(tmp_path):
    text = '[uwsgi]\nenv = A=\x1b[2J"\\\nmodule = app\nodd\x1b]0;x = \x07\n'
    (tmp_path / "a.ini").write_text(text)
    result = convert(tmp_path, "a.ini")
    assert result.returncode == 0
    assert "\x1b" not in result.stderr + result.stdout
    (tmp_path / "lockgate.toml").write_text(result.stdout)
    shown = run(tmp_path, "-c", "lockgate.toml", "--print-config")
    assert shown.returncode == 0, shown.stderr


def test_wrong_use_is_said(tmp_path):
    for arguments in ([], ["a.ini", "--", "uwsgi"], ["--"], ["--fast", "a.ini"]):
        assert convert(tmp_path, *arguments).returncode == 2
    result = convert(tmp_path, "--help")
    assert result.returncode == 0
    assert "lockgate convert uwsgi.ini" in result.stdout


def test_a_command_line_that_uwsgi_refuses_is_refused(tmp_path):
    for arguments, message in (
        (["--threadz", "4"], "did you mean --threads?"),
        (["--http"], "--http: needs a value"),
        (["-!"], "-!: uWSGI has no such option"),
    ):
        result = convert(tmp_path, "--", "uwsgi", *arguments)
        assert result.returncode == 1
        assert message in result.stderr


def convert(directory, *arguments):
    return run(directory, "convert", *arguments)


def run(directory, *arguments):
    return subprocess.run(
        [sys.executable, SAFE_PATH, "-m", "lockgate", *arguments],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
