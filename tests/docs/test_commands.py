"""Commands that the text of the documents names, outside of blocks that run, exist."""

import re
import shlex
import subprocess
import sys
from functools import cache

from harness.pages.page import documents
from harness.pages.sandbox import ROOT
from harness.pages.shell import COMMANDS as ENDING

SPAN = re.compile(r"(?<!`)`(lockgate [^`]+)`(?!`)")
# `lockgate help NAME` has no flags of its own.
COMMANDS = (ENDING | {"dev"}) - {"help"}
SUBCOMMANDS = {"ctl"}


def test_commands_and_flags_in_the_text_exist():
    named = {
        (path.relative_to(ROOT), span)
        for path in documents()
        for span in SPAN.findall(path.read_text("utf-8"))
    }
    assert len(named) > 20, "the documents name commands"
    wrong = [
        f"{path}: {span}: {fault}" for path, span in sorted(named) if (fault := wrong_in(span))
    ]
    assert not wrong, "\n".join(wrong)


def test_a_command_that_does_not_exist_is_found():
    assert wrong_in("lockgate ctl restart") == "no command restart"
    assert wrong_in("lockgate app:app --wokers 4") == "no flag --wokers"
    assert wrong_in("lockgate ctl reload --wait") is None
    assert wrong_in("lockgate app:app --workers 4") is None


def wrong_in(span):
    """What is wrong with a command line; what follows ` -- ` belongs to another command."""
    words = shlex.split(span.partition(" -- ")[0], comments=True)[1:]
    command = words[:1] if words and words[0] in COMMANDS else []
    if command and command[0] in SUBCOMMANDS and len(words) > 1 and not words[1].startswith("-"):
        if not re.search(rf"^ +{re.escape(words[1])}\b", help_of(*command), re.MULTILINE):
            return f"no command {words[1]}"
        command = words[:2]
    known = help_of(*command)
    for word in words:
        flag = word.partition("=")[0]
        if flag.startswith("--") and not re.search(rf"{re.escape(flag)}(?![\w-])", known):
            return f"no flag {flag}"
    return None


@cache
def help_of(*command):
    done = subprocess.run(
        [sys.executable, "-m", "lockgate", *command, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout
