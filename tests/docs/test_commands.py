"""Commands that the text of the documents names, outside of blocks that run, exist."""

import re
import shlex
import subprocess
import sys
from functools import cache

from harness.pages.blocks import blocks
from harness.pages.page import documents
from harness.pages.sandbox import ROOT
from harness.pages.shell import COMMANDS as ENDING

SPAN = re.compile(r"(?<!`)`(lockgate [^`]+)`(?!`)")
KNOWN = ENDING | {"dev"}
# `lockgate help NAME` has no flags of its own.
COMMANDS = KNOWN - {"help"}
SUBCOMMANDS = {"ctl"}
WORD = re.compile(r"(?!-)[\w-]*[a-z][\w-]*")


def test_commands_and_flags_in_the_text_exist():
    pages = {path.relative_to(ROOT): path.read_text("utf-8") for path in documents()}
    named = {(path, span) for path, text in pages.items() for span in SPAN.findall(text)}
    assert len(named) > 20, "the documents name commands"
    wrong = [
        f"{path}: {span}: {fault}"
        for path, span in sorted(named)
        if (fault := wrong_in(span, modules_of(pages[path])))
    ]
    assert not wrong, "\n".join(wrong)


def test_a_command_that_does_not_exist_is_found():
    assert wrong_in("lockgate ctl restart") == "no command restart"
    assert wrong_in("lockgate app:app --wokers 4") == "no flag --wokers"
    assert wrong_in("lockgate docter") == "no command or module docter"
    assert wrong_in("lockgate shop", {"app"}) == "no command or module shop"
    assert wrong_in("lockgate shop", {"shop"}) is None
    assert wrong_in("lockgate ctl reload --wait") is None
    assert wrong_in("lockgate app:app --workers 4") is None


def wrong_in(span, modules=frozenset()):
    """What is wrong with a command line; what follows ` -- ` belongs to another command.

    A first word without `:` and `.` is a command or one of the modules. Capitals stand for any.
    """
    words = shlex.split(span.partition(" -- ")[0], comments=True)[1:]
    command = words[:1] if words and words[0] in COMMANDS else []
    if command and command[0] in SUBCOMMANDS and len(words) > 1 and not words[1].startswith("-"):
        if not re.search(rf"^ +{re.escape(words[1])}\b", help_of(*command), re.MULTILINE):
            return f"no command {words[1]}"
        command = words[:2]
    elif words and not command and words[0] not in KNOWN | modules and WORD.fullmatch(words[0]):
        return f"no command or module {words[0]}"
    known = help_of(*command)
    for word in words:
        flag = word.partition("=")[0]
        if flag.startswith("--") and not re.search(rf"{re.escape(flag)}(?![\w-])", known):
            return f"no flag {flag}"
    return None


def modules_of(page):
    """The top-level modules of the files that a page writes."""
    titles = (block.title for block in blocks(page))
    return {title.partition("/")[0].removesuffix(".py") for title in titles if title}


@cache
def help_of(*command):
    done = subprocess.run(
        [sys.executable, "-m", "lockgate", *command, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout
