"""Prints the commands of `lockgate` as JSON, for `make docs`: their arguments, texts and examples.

The parsers are those of the source in this repository. They need nothing of the Rust module, which
is not built here, so an empty one takes its place.
"""

import argparse
import importlib
import json
import sys
import types
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).parent.parent / "python"))


class Unbuilt(types.ModuleType):
    """Has every name that an import statement asks for."""

    def __getattr__(self, name):
        if name.startswith("__") and name != "__version__":
            raise AttributeError(name)
        return type(name, (), {})


def described(parser, name):
    actions = [action for action in parser._actions if action.help is not argparse.SUPPRESS]
    groups = parser.subcommands()
    summaries = {
        choice.dest: choice.help
        for action in actions
        if isinstance(action, argparse._SubParsersAction)
        for choice in action._choices_actions
    }
    return {
        "name": name,
        "summary": "",
        "description": "\n\n".join(
            " ".join(paragraph.split()) for paragraph in (parser.description or "").split("\n\n")
        ),
        "examples": [list(pair) for pair in parser.examples.items()],
        "exit_codes": [list(pair) for pair in parser.exit_codes.items()],
        "arguments": [
            argument(action)
            for action in actions
            if not isinstance(action, argparse._SubParsersAction)
        ],
        "commands": [
            {**described(inner, inner_name), "summary": summaries[inner_name]}
            for inner_name, inner in groups.items()
        ],
    }


def argument(action):
    from lockgate.arguments import default_text, help_text

    takes_value = action.nargs != 0
    flags = list(action.option_strings)
    name = action.metavar or action.dest
    return {
        "flags": flags,
        "value": (name if isinstance(name, str) else " ".join(name)) if takes_value else None,
        "is_optional": action.nargs in ("?", "*") or (bool(flags) and not action.required),
        "is_repeated": action.nargs in ("*", "+", "...")
        or isinstance(action, argparse._AppendAction),
        "choices": [str(choice) for choice in action.choices or []],
        "default": default_text(action),
        "help": " ".join(help_text(action).replace("%%", "%").split()),
    }


def main():
    sys.modules["lockgate._lockgate"] = Unbuilt("lockgate._lockgate")
    from lockgate.__main__ import COMMANDS

    commands = [
        described(importlib.import_module(module).parser(), name)
        for name, module in COMMANDS.items()
    ]
    json.dump(commands, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
