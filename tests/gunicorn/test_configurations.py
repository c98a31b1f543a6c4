"""Configurations of gunicorn's as they are in use: every name that they bind is accounted for.

Each file in `configurations/` says at each of its lines what becomes of the name on it:

- `#: SETTING = VALUE`: the line of --print-config; `*` stands for any text
- `#: hook`, `#: dictionary`: it is listed at the end of --print-config
- `#: default`: gunicorn's default, of which nothing is said
- `#: ignored`: a warning says that it has no effect
- `#: misspelled NAME`: a warning names the setting that was probably meant
- `#: refused TEXT`: an error with this text
- `#: variable`: the file's own, of which nothing is said
- `#: *`: anything but an error
"""

import fnmatch
import io
import json
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest
from harness import APPS, run

FOLDER = Path(__file__).parent / "configurations"
FILES = sorted(path.stem for path in FOLDER.glob("*.py"))

#: The others start and answer.
NOT_STARTED = {
    "behind_haproxy": "every connection needs a PROXY header",
    "wrong_values": "most of it is refused",
}


def fates(text):
    """The comments of a file: for each line what becomes of its names."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    comments = (
        (token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT
    )
    return {line: comment[2:].strip() for line, comment in comments if comment.startswith("#:")}


EVALUATE = """
import json, sys
from lockgate.gunicorn.evaluate import evaluate
print(json.dumps(evaluate(sys.argv[1])))
"""


def bound_names(directory, name):
    """The public names that a file binds, with their lines."""
    command = [sys.executable, "-c", EVALUATE, f"{name}.py"]
    output = subprocess.run(command, cwd=directory, stdout=subprocess.PIPE, text=True, check=True)
    evaluated = json.loads(output.stdout.splitlines()[-1])
    assert evaluated["error"] is None, evaluated["error"]
    return {entry["name"]: entry["line"] for entry in evaluated["names"]}


@pytest.fixture
def place(tmp_path):
    """A directory with the applications and places for logs."""
    for folder in ("logs", "run"):
        (tmp_path / folder).mkdir()
    (tmp_path / "hello.py").write_text((APPS / "hello.py").read_text())
    return tmp_path


def without_refused(text):
    """The file without the lines that are refused, and without the functions that begin there."""
    lines = text.splitlines()
    kept, is_inside = [], False
    for line in lines:
        is_refused = "#: refused" in line
        is_inside = is_refused or (is_inside and (line.startswith(" ") or not line))
        kept.append("" if is_inside else line)
    return "\n".join(kept) + "\n"


@pytest.mark.parametrize("name", FILES)
def test_every_name_is_accounted_for(place, name):
    text = (FOLDER / f"{name}.py").read_text()
    path = place / f"{name}.py"
    path.write_text(text)
    expected = fates(text)
    names = bound_names(place, name)
    for bound, line in names.items():
        if line is None:
            continue
        assert line in expected, f"line {line} does not say what becomes of {bound}"
    refused = {line: fate for line, fate in expected.items() if fate.startswith("refused ")}
    application = [] if "wsgi_app" in names else ["hello:app"]
    arguments = (*application, "-c", f"{name}.py")
    if refused:
        failed = run(*arguments, "--check-config", chdir=place)
        assert failed.returncode == 2, failed.stderr
        for line, fate in refused.items():
            messages = [
                found
                for found in failed.stderr.splitlines()
                if f"(from {name}.py line {line})" in found
            ]
            assert len(messages) == 1, (line, failed.stderr)
            assert fate.removeprefix("refused ") in messages[0]
        path.write_text(without_refused(text))
    printed = run(*arguments, "--print-config", chdir=place)
    assert printed.returncode == 0, printed.stderr
    checked = run(*arguments, "--check-config", chdir=place)
    assert checked.returncode == 0, checked.stderr
    warnings = checked.stderr
    for bound, line in names.items():
        fate = expected.get(line, "*")
        where = f"(from {name}.py line {line})"
        if fate in ("variable", "default", "hook", "dictionary"):
            assert where not in warnings, (bound, warnings)
        if fate in ("hook", "dictionary"):
            listed = printed.stdout.splitlines()[-1]
            _, _, defined = listed.partition(f"{name}.py defines ")
            assert bound in defined.split(", "), (bound, listed)
        elif fate == "ignored":
            assert re.search(rf"\b{bound} = .* {re.escape(where)} has no effect: ", warnings), (
                bound,
                warnings,
            )
        elif fate.startswith("misspelled "):
            meant = fate.removeprefix("misspelled ")
            message = f"{bound} {where} is no setting and has no effect; did you mean {meant}?"
            assert message in warnings, (message, warnings)
    settings = [
        part.strip() for fate in expected.values() for part in fate.split(" | ") if " = " in part
    ]
    settings = [part for part in settings if not part.startswith("refused ")]
    for setting in settings:
        start = setting.split(" = ")[0]
        [shown] = [line for line in printed.stdout.splitlines() if line.startswith(f"{start} = ")]
        # fnmatch reads brackets as sets of characters.
        pattern = setting.replace("[", "[[]") + " *"
        assert fnmatch.fnmatchcase(shown, pattern), (setting, shown)
        assert f"# {name}.py line " in shown, (setting, shown)


@pytest.mark.parametrize("name", [name for name in FILES if name not in NOT_STARTED])
def test_it_starts_and_answers(start, place, name):
    text = without_refused((FOLDER / f"{name}.py").read_text())
    (place / f"{name}.py").write_text(text)
    # The fixture reads the log.
    log = ("--error-logfile", "-", "--log-level", "info")
    server = start("hello:app", "-c", f"{name}.py", *log, chdir=place)
    assert server.get("/").status == 200
    assert server.stop() == 0
