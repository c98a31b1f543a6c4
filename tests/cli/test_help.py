"""Help of the command line: one form for all commands, and examples that work."""

import importlib
import shlex
import subprocess
import sys

import pytest
from harness import run
from lockgate.__main__ import COMMANDS
from lockgate.arguments import Parser

#: Where the arguments of an example end, and something else begins.
SHELL = {"|", ">", ">>", "<", "&&", ";"}


def parser_of(name: str) -> Parser:
    return importlib.import_module(COMMANDS[name]).parser()


def all_parsers():
    """Each command and subcommand, by its whole name."""
    open_parsers = [parser_of(name) for name in COMMANDS]
    for parser in open_parsers:
        open_parsers += parser.subcommands().values()
        yield parser


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_prints_its_help_with_examples(name):
    for arguments in ([name, "-h"], [name, "--help"], ["help", name]):
        said = run(*arguments)
        assert said.returncode == 0 and said.stderr == "", said
        assert f"usage: lockgate {name} " in said.stdout
        assert f"\nexamples:\n  lockgate {name}" in said.stdout or "| lockgate" in said.stdout
        assert "\nexit codes: 0 " in said.stdout
        assert max(map(len, said.stdout.splitlines())) <= 100
    assert f"\n  {name} " in run("-h").stdout


def test_every_example_is_a_command_line_that_its_command_accepts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for directory in ("static", "assets", "media"):
        (tmp_path / directory).mkdir()
    count = 0
    for parser in all_parsers():
        for example in parser.examples:
            words = shlex.split(example)
            words = words[words.index("lockgate") + 1 :]
            ends = [at for at, word in enumerate(words) if word in SHELL]
            name, *arguments = words[: min(ends, default=None)]
            assert parser.prog.startswith(f"lockgate {name}"), example
            module = importlib.import_module(COMMANDS[name])
            if "--" in arguments:
                arguments = arguments[: arguments.index("--")]
            module.parser().parse_args(arguments)
            count += 1
    assert count > 30


def test_every_argument_and_subcommand_has_a_help_text():
    for parser in all_parsers():
        assert parser.description and parser.examples and parser.exit_codes, parser.prog
        for action in parser._actions:
            assert action.help or parser.subcommands(), f"{parser.prog}: {action.dest}"


def test_help_shows_defaults():
    assert "time between two views (default: 1)" in run("top", "-h").stdout
    assert "(default: 1024)" in " ".join(run("precompress", "-h").stdout.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ctl", "states"], "ctl: states: unknown command; did you mean status?"),
        (
            ["ctl", "reload", "--timeouts", "3"],
            "ctl reload: --timeouts: unknown flag; did you mean --timeout?",
        ),
        (
            ["ctl", "reload", "--wait", "--timeout", "soon"],
            "ctl reload: --timeout: must be a number of seconds above 0, not soon; "
            "see lockgate ctl reload -h",
        ),
        (["checks", "app:app"], "checks: unknown command; did you mean check?"),
        (["ctl"], "ctl: COMMAND: is missing; see lockgate ctl -h"),
        (["ctl", "--admin"], "ctl: --admin: requires a value; see lockgate ctl -h"),
        (
            ["ctl", "purge"],
            "ctl purge: a URL, --tag TAG or --all is missing; see lockgate ctl purge -h",
        ),
        (
            ["ctl", "maintenance", "never"],
            "ctl maintenance: never: unknown value; it must be on, off or auto; "
            "see lockgate ctl maintenance -h",
        ),
        (["top", "now"], "top: now: one argument too many; see lockgate top -h"),
        (
            ["precompress", "-j", "0", "."],
            "precompress: -j/--jobs: must be a whole number from 1, not 0; "
            "see lockgate precompress -h",
        ),
        (
            ["convert", "--force=1", "a.ini"],
            "convert: --force: does not take a value; see lockgate convert -h",
        ),
        (
            ["help", "wrokers"],
            "help wrokers: no setting and no command has this name; did you mean workers?",
        ),
    ],
)
def test_a_mistake_says_what_is_wrong_and_where_to_look(arguments, message):
    said = run(*arguments)
    assert (said.returncode, said.stdout, said.stderr) == (2, "", f"lockgate: {message}\n")


def test_help_without_a_terminal_has_no_colours():
    for name in COMMANDS:
        code = f"import sys; sys.argv = ['lockgate', '{name}', '-h']; "
        code += "from lockgate.__main__ import main; main()"
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=20)
        assert said.stdout and b"\x1b" not in said.stdout, name


def test_a_reader_that_closes_its_pipe_is_no_error():
    for arguments in (["completions", "zsh"], ["ctl", "-h"], ["check", "--rules"]):
        command = [sys.executable, "-m", "lockgate", *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.stdout.close()
            assert (process.stderr.read(), process.wait(20)) == (b"", 0), arguments


def test_a_stream_that_cannot_encode_a_text_gets_it_escaped():
    said = run("completions", "bash", environment={"PYTHONIOENCODING": "ascii"})
    assert (said.returncode, said.stderr) == (0, "")
