"""Completion of command lines in bash, zsh and fish, with the files that the wheel installs."""

import subprocess
import sys
from pathlib import Path

import pytest
from harness import run
from harness.requirements import missing, require_program
from harness.shells import Shell

#: A line, words that the shell offers or writes, and words that it must not offer.
CASES = [
    ("lockgate ", {"ctl", "convert", "app.py", "shop.wsgi"}, {"notes.txt", "reload"}),
    ("lockgate co", {"convert", "completions"}, {"ctl"}),
    ("lockgate -w 3 ", {"app.py", "shop.wsgi"}, {"ctl", "notes.txt"}),
    ("lockgate --grace", {"--graceful-timeout"}, set()),
    ("lockgate --log-level ", {"debug", "info", "warning", "error", "critical"}, {"app.py"}),
    ("lockgate --log-level=wa", {"warning"}, {"info"}),
    ("lockgate --gc ", {"freeze", "idle", "off"}, {"app.py"}),
    ("lockgate -k ", {"sync", "gthread", "gevent"}, {"app.py"}),
    ("lockgate --workers ", {"auto"}, {"app.py"}),
    ("lockgate --chdir ", {"shop"}, {"app.py", "notes.txt"}),
    ("lockgate --certfile no", {"notes.txt"}, {"app.py"}),
    ("lockgate --access-logfile ", {"none", "notes.txt"}, {"ctl"}),
    ("lockgate -u roo", {"root"}, {"app.py"}),
    ("lockgate --group roo", {"root"}, {"app.py"}),
    ("lockgate --bind uni", {"unix:"}, {"app.py"}),
    ("lockgate ctl ", {"status", "reload", "workers", "purge"}, {"convert", "app.py"}),
    ("lockgate ctl --admin unix:/run/a re", {"reload", "reopen", "requests"}, {"status"}),
    ("lockgate ctl reload --", {"--wait", "--timeout", "--admin"}, {"--workers"}),
    ("lockgate ctl maintenance ", {"on", "off", "auto"}, {"app.py"}),
    ("lockgate dev --no-", {"--no-reload", "--no-refresh"}, {"--no-sendfile"}),
    ("lockgate convert no", {"notes.txt"}, {"app.py"}),
    ("lockgate precompress sh", {"shop"}, {"app.py"}),
    ("lockgate help worker", {"workers", "worker_class"}, {"threads"}),
    ("lockgate man ct", {"ctl"}, {"top"}),
    ("lockgate completions ", {"bash", "zsh", "fish"}, {"app.py"}),
]

PREFIX = Path(sys.prefix)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    directory = tmp_path_factory.mktemp("project")
    (directory / "shop").mkdir()
    for name in ("app.py", "notes.txt", "shop/wsgi.py", "shop/__init__.py"):
        (directory / name).touch()
    return directory


def check(line: str, completed: str, listed: set[str], wanted: set[str], absent: set[str]):
    # What the shell has written into the line counts as offered, behind the `=` of a flag too.
    offered = listed | set(completed.removeprefix(line.rpartition(" ")[0]).split())
    offered |= {word.partition("=")[2] for word in offered}
    offered = {word.rstrip("/=") for word in offered}
    assert wanted <= offered, f"{line}: no {wanted - offered} in {completed!r} {listed}"
    assert not absent & offered, f"{line}: {absent & offered} in {completed!r} {listed}"


SHARE = PREFIX / "share"
COMPINIT = "autoload -Uz compinit; compinit -u -D"


@pytest.mark.parametrize(
    ("name", "setup"),
    [
        ("bash", f"source {SHARE}/bash-completion/completions/lockgate"),
        ("zsh", f"fpath=({SHARE}/zsh/site-functions $fpath); {COMPINIT}"),
    ],
)
def test_a_shell_completes_commands_flags_and_values(project, name, setup):
    require_program(name, package=name)
    shell = Shell(name, project, setup)
    try:
        for line, wanted, absent in CASES:
            check(line, *shell.complete(line), wanted, absent)
    finally:
        shell.close()


def test_fish_completes_commands_flags_and_values(project):
    require_program("fish", package="fish")
    file = PREFIX / "share/fish/vendor_completions.d/lockgate.fish"
    lines = "\n".join(
        f"echo '== {number}'; complete -C '{line}'" for number, (line, *_) in enumerate(CASES)
    )
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"source {file}\n{lines}"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    answers = done.stdout.split("== ")[1:]
    for (line, wanted, absent), answer in zip(CASES, answers, strict=True):
        offered = {entry.partition("\t")[0] for entry in answer.splitlines()[1:]}
        check(line, line, offered, wanted, absent)


def test_bash_completion_finds_the_file_below_a_prefix(project):
    require_program("bash", package="bash")
    library = Path("/usr/share/bash-completion/bash_completion")
    if not library.exists():
        missing("the Debian package bash-completion is not installed")
    shell = Shell("bash", project, f"source {library}", XDG_DATA_DIRS=str(PREFIX / "share"))
    try:
        completed, _ = shell.complete("lockgate ctl maintenance of")
        assert completed.rstrip() == "lockgate ctl maintenance off"
    finally:
        shell.close()


def test_zsh_completes_after_it_has_sourced_what_the_command_prints(project):
    require_program("zsh", package="zsh")
    printed = f"source <({sys.executable} -m lockgate completions zsh)"
    shell = Shell("zsh", project, f"{COMPINIT}; {printed}")
    try:
        assert shell.complete("lockgate ctl maintenance of")[0] == "lockgate ctl maintenance off "
    finally:
        shell.close()


def test_a_completed_value_replaces_only_what_was_typed(project):
    require_program("bash", package="bash")
    shell = Shell("bash", project, f"source {PREFIX}/share/bash-completion/completions/lockgate")
    try:
        for line, expected in [
            ("lockgate --gc=fr", "lockgate --gc=freeze "),
            ("lockgate --bind uni", "lockgate --bind unix:"),
            ("lockgate --config=no", "lockgate --config=notes.txt "),
            ("lockgate --chdir sh", "lockgate --chdir shop/"),
            ("lockgate shop.wsgi:appl", "lockgate shop.wsgi:application "),
            ("lockgate ctl purge --ta", "lockgate ctl purge --tag "),
        ]:
            assert shell.complete(line)[0] == expected
    finally:
        shell.close()


@pytest.mark.parametrize(
    ("arguments", "variable", "start"),
    [
        (["bash"], "/bin/zsh", "# Completion of lockgate for bash."),
        (["zsh"], "", "#compdef lockgate"),
        ([], "/usr/bin/fish", "# Completion of lockgate for fish."),
    ],
)
def test_the_completion_of_a_shell_is_printed(arguments, variable, start):
    said = run("completions", *arguments, environment={"SHELL": variable})
    assert (said.returncode, said.stderr) == (0, "") and said.stdout.startswith(start)


@pytest.mark.parametrize(
    ("arguments", "variable", "message"),
    [
        ([], "", "SHELL is not set: name bash, zsh or fish"),
        ([], "/bin/tcsh", "SHELL = /bin/tcsh: name bash, zsh or fish"),
        (["pwsh"], "", "pwsh: unknown value; it must be bash, zsh or fish"),
    ],
)
def test_a_shell_without_completion_is_an_error(arguments, variable, message):
    said = run("completions", *arguments, environment={"SHELL": variable})
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == f"lockgate: completions: {message}; see lockgate completions -h\n"
