"""gunicorn as a source: its command line, GUNICORN_CMD_ARGS and gunicorn.conf.py.

Lockgate runs gunicorn's files and flags as they are. The conversion is for a site that wants
lockgate.toml; it executes the file in a process of its own, as the server does.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from lockgate.convert import tables
from lockgate.convert.conversion import Conversion
from lockgate.convert.option import Option
from lockgate.convert.report import Outcome, Report, printable
from lockgate.convert.settings import Settings
from lockgate.convert.source import ConversionError, Machine, Place
from lockgate.convert.values import is_on
from lockgate.gunicorn.command import evaluation

#: The longest time for which a file may run, in seconds.
DEADLINE = 30

MOST_ANSWER = 1 << 22

#: Classes of workers that become threads, with the part of their dotted names that says which.
THREADED = {"sync": "sync", "gthread": "gthread", "gevent": "gevent", "ggevent": "gevent"}

LISTS = ("raw_env", "bind", "raw_paste_global_conf", "reload_extra_files", "dirty_apps")

HOOK = "keep the file: lockgate -c FILE runs it with its hooks, and lockgate.toml is not Python"


def convert_arguments(arguments: Sequence[str], machine: Machine) -> tuple[Settings, Report]:
    known = tables.table("gunicorn")
    names: dict[str, str] = known.data["command_line"]

    def rename(flag: str) -> str | None:
        return names.get(flag if len(flag) > 1 and not flag.startswith("-") else flag)

    by_variable, more = tables.read_flags(
        shlex.split(machine.environment.get("GUNICORN_CMD_ARGS", "")), known.flags, rename
    )
    for option in by_variable:
        option.place = Place("the variable GUNICORN_CMD_ARGS")
    given, others = tables.read_flags(arguments, known.flags, rename)
    others = more + others
    command = by_variable + given
    directory = next((o.text for o in reversed(command) if o.key == "chdir"), "")
    file = next((o.text for o in reversed(command) if o.key == "config"), None)
    for option in command:
        if option.key == "sendfile":
            option.value = "false"
    in_file: list[Option] = []
    if file is None:
        default = os.path.join(machine.directory, directory, "gunicorn.conf.py")
        file = "gunicorn.conf.py" if os.path.isfile(default) else None
    if file is not None:
        in_file = evaluate(file, machine)
    application = [Option(Place("the command line"), "wsgi_app", text) for text in others]
    return convert(in_file + command + application, machine)


def convert_file(name: str, machine: Machine) -> tuple[Settings, Report]:
    return convert(evaluate(name, machine), machine)


def evaluate(name: str, machine: Machine) -> list[Option]:
    """What the file sets; it is executed in a process of its own."""
    source = name
    if not name.startswith(("python:", "file:")):
        if not os.path.isfile(os.path.join(machine.directory, name)):
            raise ConversionError(f"{name}: No such file or directory")
    source = name.removeprefix("file:")
    reading, writing = os.pipe()
    # The process leads a session of its own.
    command = [*evaluation(), source, str(writing)]
    with open(reading, "rb") as pipe:
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            pass_fds=[writing],
        ) as process:
            os.close(writing)
            try:
                # The answer fits into the pipe or is read here; a program that the file has
                # started may hold the pipe open, so the end of the process counts.
                answer = read_until_exit(pipe.fileno(), process)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.kill()
                raise ConversionError(f"{name}: still ran after {DEADLINE} s") from None
    if not answer:
        code = process.returncode
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise ConversionError(f"{name}: ended the process that executed it ({how})")
    document: dict[str, Any] = json.loads(answer)
    if document["error"]:
        raise ConversionError(f"{name}: raised an exception\n{document['error'].rstrip()}")
    return [option_of(entry, name) for entry in document["names"]]


def read_until_exit(descriptor: int, process: subprocess.Popen[bytes]) -> bytes:
    deadline = time.monotonic() + DEADLINE
    content = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        readable, _, _ = select.select([descriptor], [], [], min(left, 0.1))
        if readable:
            piece = os.read(descriptor, 65536)
            content += piece
            if not piece or len(content) > MOST_ANSWER:
                process.wait(max(deadline - time.monotonic(), 1))
                return content
        elif process.poll() is not None:
            return content


def option_of(entry: dict[str, Any], name: str) -> Option:
    place = Place(name, entry.get("line"))
    if entry["name"] == "logger_class" and entry.get("path"):
        return Option(place, entry["name"], entry["path"])
    if "value" not in entry:
        described = "(" + ", ".join(entry["function"]) + ")" if "function" in entry else ""
        text = described or str(entry.get("object", ""))
        return Option(place, entry["name"], text, did="function" if described else "object")
    value = entry["value"]
    if isinstance(value, bool):
        return Option(place, entry["name"], "true" if value else "false")
    if value is None:
        return Option(place, entry["name"], "", did="none")
    if isinstance(value, list):
        return Option(place, entry["name"], "\n".join(str(part) for part in value), did="list")
    if isinstance(value, dict):
        return Option(place, entry["name"], json.dumps(value), did="table")
    return Option(place, entry["name"], str(value))


def convert(options: list[Option], machine: Machine) -> tuple[Settings, Report]:
    known = tables.table("gunicorn")
    conversion = Conversion(machine, options, set())
    own_names(conversion, known)
    keep_last(conversion)
    for option in [o for o in conversion.pending if o.did == "none"]:
        conversion.pending.remove(option)
        conversion.not_needed(option, "None is the default")
    application(conversion)
    workers(conversion)
    lists(conversion)
    others(conversion)
    hooks(conversion, known)
    tables.apply(conversion, known)
    conversion.default(
        "workers", int(machine.environment.get("WEB_CONCURRENCY", "1") or 1), "gunicorn's default"
    )
    return conversion.settings, conversion.finish()


def own_names(conversion: Conversion, known: tables.Table) -> None:
    """A file has variables of its own; those close to a setting are probably mistakes."""
    for option in list(conversion.pending):
        if option.key in known.rows or option.place.line is None and option.key == "wsgi_app":
            continue
        conversion.pending.remove(option)
        nearest = known.nearest(option.key.lower().replace("-", "_"))
        if nearest and option.did not in ("function", "object"):
            conversion.unknown(option, f"gunicorn ignores it; did you mean {nearest}?")
        else:
            conversion.not_needed(option, "a name of the file's own")


def keep_last(conversion: Conversion) -> None:
    last = {option.key: option for option in conversion.pending}
    places = {option.key: str(option.place) for option in conversion.pending}
    for option in list(conversion.pending):
        is_later = str(option.place) == places[option.key] and option.key in LISTS
        if last[option.key] is not option and not is_later:
            conversion.pending.remove(option)
            conversion.not_needed(option, f"{places[option.key]} sets it again")


def application(conversion: Conversion) -> None:
    option = conversion.take("wsgi_app")
    if option is None:
        conversion.report.notes.append("no application is named: set app")
    else:
        conversion.mapped(option, "app", option.text)
    for option in conversion.take_all("config"):
        if option.text:
            conversion.not_needed(option, "its settings stand in lockgate.toml now")
        else:
            conversion.not_needed(option, "there is no file")


def workers(conversion: Conversion) -> None:
    """sync without threads runs one request at a time, gevent many."""
    kind = conversion.take("worker_class")
    threads = conversion.take_number("threads")
    name = "sync"
    if kind is not None:
        last = kind.text.rsplit(".", 1)[-1].lower() if "." in kind.text else kind.text
        name = THREADED.get(last) or next(
            (value for part, value in THREADED.items() if part in kind.text.lower()), ""
        )
        if kind.did in ("object", "function") or not name or "async" in kind.text:
            conversion.not_supported(
                kind, "there is one kind of worker, for WSGI: requests run on threads"
            )
            name = "sync"
        elif name == "gevent":
            conversion.changed(
                kind, "threads", "auto", "requests run on threads: remove monkey patching"
            )
        else:
            conversion.not_needed(kind, "requests run on threads in each worker")
    if threads is not None:
        if "threads" in conversion.settings:
            conversion.not_needed(threads[0], "gevent has no threads")
        else:
            conversion.mapped(threads[0], "threads", max(threads[1], 1))
    conversion.default(
        "threads",
        1,
        "gunicorn runs one request at a time in each worker unless threads is set; if the "
        "application is safe with threads, remove this line",
    )


def lists(conversion: Conversion) -> None:
    """Lists and tables of a file, which are no text with commas."""
    rows = tables.table("gunicorn").rows
    for option in list(conversion.pending):
        row = rows[option.key]
        if option.did == "list" and "to" in row:
            conversion.pending.remove(option)
            items = [item for item in option.text.split("\n") if item]
            option.template = option.value = ", ".join(items)
            if items:
                conversion.mapped(option, row["to"], items)
            else:
                conversion.not_needed(option, "it is empty")


def others(conversion: Conversion) -> None:
    mask = conversion.take("umask")
    if mask is not None:
        text = mask.text.strip()
        # In a file 0o022 has become a number; on the command line it is text in octal.
        if mask.place.line is not None and text.isdecimal():
            text = f"{int(text):o}"
        text = text.removeprefix("0o").lstrip("0")
        conversion.mapped(mask, "umask", f"0{text}" if text else "0")
    certificates = conversion.take("cert_reqs")
    if certificates is not None:
        wanted = {"0": "none", "1": "optional", "2": "required"}
        conversion.mapped(
            certificates, "cert_reqs", wanted.get(certificates.text, certificates.text)
        )
    protocols = conversion.take("http_protocols")
    if protocols is not None:
        conversion.mapped(protocols, "http2", "h2" in protocols.text)
    protocol = conversion.take("protocol")
    if protocol is not None:
        conversion.mapped(protocol, "protocol", protocol.text)
    headers = conversion.take("secure_scheme_headers")
    if headers is not None:
        pairs = json.loads(headers.text) if headers.did == "table" else {}
        items = [f"{name}={value}" for name, value in pairs.items()]
        conversion.put(headers, Outcome.MAPPED, "secure_scheme_headers", items, "")


def hooks(conversion: Conversion, known: tables.Table) -> None:
    for option in list(conversion.pending):
        row = known.rows[option.key]
        if row.get("hook") or option.did in ("function", "object"):
            conversion.pending.remove(option)
            option.template = printable(option.text)
            conversion.not_supported(option, row.get("not supported", HOOK))
        elif "not supported" in row and option.value is not None and not is_on(option.value):
            conversion.pending.remove(option)
            conversion.not_needed(option, "it is switched off")
