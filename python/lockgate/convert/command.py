"""The command `lockgate convert`."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from lockgate.arguments import Parser
from lockgate.convert import granian, gunicorn, uwsgi, waitress
from lockgate.convert.report import Outcome, Report
from lockgate.convert.settings import Settings, SourceLine
from lockgate.convert.source import ConversionError, Machine, read_text
from lockgate.convert.waitress import find_call
from lockgate.progress import waiting

DESCRIPTION = """\
Makes lockgate.toml from the configuration of uWSGI, gunicorn, granian or waitress, and says of each
key what became of it. The file goes to standard output, or to the one that -o names; the report
goes to standard error. Conditions and variables of the configuration are decided here and now, so
convert it where it is used. A gunicorn.conf.py is executed; of other sources nothing is."""

EXAMPLES = {
    "lockgate convert uwsgi.ini -o lockgate.toml": "",
    "lockgate convert deploy/shop.ini:production": "one section of a file",
    "lockgate convert -- uwsgi --http :8080 --module shop.wsgi --processes 4": "a command line",
    "lockgate convert gunicorn.conf.py": "",
    "lockgate convert -- gunicorn -w 4 shop.wsgi": "",
    "lockgate convert -- granian --interface wsgi --workers 4 shop.wsgi:app": "",
    "lockgate convert server.py": "a program that calls waitress.serve",
}


@dataclass(frozen=True)
class Result:
    """What a conversion makes."""

    settings: Settings
    report: Report
    #: What was converted, for the first line of the file.
    subject: str


def main(arguments: Sequence[str]) -> int:
    options, command = parse(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        machine = Machine.here()
        result = convert_command(command, machine) if command else convert_files(options, machine)
        toml = toml_of(result)
        write_file(options, toml)
        write_report(options, result.report, toml)
    except ConversionError as problem:
        print(f"lockgate: {problem}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options of this command, and the command line to convert, which follows `--`."""
    own, command = list(arguments), []
    if "--" in own:
        at = own.index("--")
        own, command = own[:at], own[at + 1 :]
    commands = parser()
    options = commands.parse_args(own)
    if "--" in arguments and not command:
        commands.error("after -- a command line is needed, such as uwsgi --http :8080")
    if bool(command) == bool(options.files):
        commands.error("name the files to convert, or a command line after --")
    return options, command


def parser() -> Parser:
    parser = Parser(
        "lockgate convert",
        DESCRIPTION,
        usage="lockgate convert [OPTIONS] FILE …\n       lockgate convert [OPTIONS] -- COMMAND …",
        examples=EXAMPLES,
        exit_codes={0: "converted", 1: "not converted", 2: "wrong use of this command"},
    )
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="a configuration; FILE:NAME for one section of it"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write lockgate.toml to this file")
    parser.add_argument("--force", action="store_true", help="replace the file of -o if it exists")
    parser.add_argument("--report", metavar="FILE", help="write the report to this file")
    parser.add_argument("--json", action="store_true", help="write the report as JSON")
    return parser


def convert_files(options: argparse.Namespace, machine: Machine) -> Result:
    first, *more = options.files
    if first.startswith("python:") or first.endswith(".py"):
        if more:
            raise ConversionError("convert one Python file at a time")
        call = None if first.startswith("python:") else find_call(read_text(first), first)
        if call is not None:
            return Result(*waitress.convert_call(call, first, machine), first)
        with waiting(f"executing {first}"):
            return Result(*gunicorn.convert_file(first, machine), first)
    return Result(*uwsgi.convert_arguments(options.files, machine), " ".join(options.files))


def convert_command(command: list[str], machine: Machine) -> Result:
    words = list(command)
    if os.path.basename(words[0]).startswith("python") and words[1:2] == ["-m"]:
        words = words[2:]
    program = os.path.basename(words[0]) if words else ""
    converters = {
        "uwsgi": uwsgi.convert_arguments,
        "pyuwsgi": uwsgi.convert_arguments,
        "gunicorn": gunicorn.convert_arguments,
        "granian": granian.convert_arguments,
        "waitress-serve": waitress.convert_arguments,
        "waitress": waitress.convert_arguments,
    }
    if program not in converters:
        known = "uwsgi, gunicorn, granian and waitress-serve"
        raise ConversionError(f"{program}: no server of this name is known; there are {known}")
    return Result(*converters[program](words[1:], machine), " ".join(command))


def toml_of(result: Result) -> str:
    open_entries = [
        entry
        for entry in result.report.entries
        if entry.outcome in (Outcome.NOT_SUPPORTED, Outcome.UNKNOWN)
    ]
    footer: list[str] = [
        SourceLine(f"{entry.outcome.value}: {entry.place}: {entry.source()}")
        for entry in open_entries
    ]
    if footer:
        footer.insert(0, "--- Not in this file; the report has advice for each ---")
    header = [
        SourceLine(f"Made by `lockgate convert` from {result.subject}."),
        "Each setting names its source. Check it with: lockgate --check-config",
    ]
    return result.settings.toml(header, footer)


def write_file(options: argparse.Namespace, toml: str) -> None:
    if options.output is None:
        if not (options.json and options.report is None):
            sys.stdout.write(toml)
            sys.stdout.flush()
        return
    write(options.output, toml, options.force)


def write_report(options: argparse.Namespace, report: Report, toml: str) -> None:
    text = report.json(toml) if options.json else report.text()
    if options.report is not None:
        write(options.report, text, force=True)
    elif options.json and options.output is None:
        sys.stdout.write(text)
    else:
        sys.stderr.write(text)


def write(path: str, text: str, force: bool) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if force else os.O_EXCL)
    try:
        with open(os.open(path, flags, 0o644), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConversionError(f"{path}: exists; --force replaces it") from None
    except OSError as problem:
        raise ConversionError(f"{path}: {problem.strerror}") from None
