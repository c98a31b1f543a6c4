"""uWSGI as a source: its configuration files, its command line and its variables."""

from __future__ import annotations

from collections.abc import Sequence

from lockgate.convert.conversion import Conversion
from lockgate.convert.report import Report
from lockgate.convert.settings import Settings
from lockgate.convert.source import Machine
from lockgate.convert.uwsgi import mapping
from lockgate.convert.uwsgi.arguments import read_arguments
from lockgate.convert.uwsgi.reader import Reader


def convert_arguments(arguments: Sequence[str], machine: Machine) -> tuple[Settings, Report]:
    """Converts a command line, with the variables that begin with UWSGI_."""
    options, files = read_arguments(arguments)
    reader = Reader(machine)
    reader.read_environment()
    reader.read_arguments(options)
    for file in files:
        if not file.startswith("["):
            reader.read_file(file)
    found = reader.finish()
    conversion = Conversion(machine, found, reader.placeholders.used)
    mapping.convert(conversion)
    report = conversion.finish()
    report.notes = [*reader.notes, *report.notes]
    return conversion.settings, report
