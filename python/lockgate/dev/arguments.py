"""The arguments of `lockgate dev`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from lockgate.arguments import Parser

DESCRIPTION = """\
Serves an application while it is written: finds it, loads it again when a file of it is saved, and
shows errors as pages. It is the server of production with one worker, and it listens on this
machine only, unless --host or --bind says otherwise.

Settings of lockgate.toml that concern the application count: app, chdir, pythonpath, env, routes,
mounts, static files and sessions. Those that concern production do not: addresses, workers, users,
log files, certificates and limits of time."""

EXAMPLES = {
    "lockgate dev": "finds the application by itself",
    "lockgate dev shop.wsgi": "a module; a file or an .ini, too",
    "lockgate dev --port 5000 --host 0.0.0.0": "for other devices, too",
    "lockgate dev --cert adhoc": "https://localhost:8000",
    "lockgate dev --no-reload": "one process, for a debugger",
    "lockgate dev --debugpy 5678": "VS Code can attach there",
}

EXIT_CODES = {
    0: "ended by Ctrl-C",
    1: "it cannot start, for example because the port is in use",
    2: "wrong use of this command, or a setting is wrong",
    4: "no application was found",
}


#: Flags of `lockgate` and of other servers' commands for development, and what to do instead.
ELSEWHERE = {
    "--debug": "lockgate dev shows errors as pages without it; --debugger is Werkzeug's debugger",
    "--workers": "lockgate dev has one worker; lockgate APP --workers N serves with several",
}


@dataclass(frozen=True)
class Arguments:
    #: As `lockgate APP` takes it, or a file; None: it is looked for.
    app: str | None
    #: Addresses as the setting `bind` has them; empty: host and port.
    bind: list[str]
    host: str | None
    port: int | None
    #: "adhoc", the path of a certificate, or None.
    cert: str | None
    key: str | None
    config: str | None
    chdir: str | None
    reload: bool
    reload_extra_files: list[str]
    refresh: bool
    debugger: bool
    validate: bool
    #: In seconds.
    slow: float
    #: Where debugpy listens: host and port.
    debugpy: tuple[str, int] | None


def parse(arguments: Sequence[str]) -> Arguments:
    """Exits with 2 when they are wrong."""
    reader = parser()
    for word in arguments:
        flag = word.partition("=")[0]
        if flag in ELSEWHERE:
            reader.error(f"{flag}: {ELSEWHERE[flag]}")
    given = reader.parse_args(list(arguments))
    if given.bind and (given.host is not None or given.port is not None):
        reader.error("--bind excludes --host and --port: keep one of them")
    if given.key and not given.cert:
        reader.error(f"--key {given.key}: needs --cert, the certificate that belongs to this key")
    if given.cert == "adhoc" and given.key:
        reader.error(f"--key {given.key}: --cert adhoc makes its own key; remove --key")
    if given.refresh and not given.reload:
        reader.error("--refresh shows what a reload has loaded; remove --no-reload or --refresh")
    return Arguments(**vars(given))


def parser() -> Parser:
    parser = Parser("lockgate dev", DESCRIPTION, examples=EXAMPLES, exit_codes=EXIT_CODES)
    parser.add_argument(
        "app", nargs="?", metavar="APP", help="the application (default: the one that is found)"
    )
    where = parser.add_argument_group("addresses")
    where.add_argument("--host", help="name or address to listen at (default: 127.0.0.1)")
    where.add_argument(
        "-p", "--port", type=port_number, help="port (default: 8000); 0 is a free port"
    )
    where.add_argument(
        "-b", "--bind", action="append", default=[], metavar="ADDRESS", help="HOST:PORT, unix:PATH"
    )
    where.add_argument(
        "--cert",
        metavar="adhoc|PATH",
        help="HTTPS with a certificate of its own, or with that of a file",
    )
    where.add_argument("--key", metavar="PATH", help="the key of the certificate")
    loading = parser.add_argument_group("the application")
    loading.add_argument(
        "-c", "--config", metavar="PATH", help="default: lockgate.toml, if it is here"
    )
    loading.add_argument("--chdir", metavar="DIRECTORY", help="change to it before anything else")
    switch(loading, "reload", True, "load the application again when a file of it is saved")
    loading.add_argument(
        "--reload-extra-file",
        dest="reload_extra_files",
        action="append",
        default=[],
        metavar="PATTERN",
        help="also when a file of this path or pattern is saved, such as 'templates/**'",
    )
    looks = parser.add_argument_group("what it shows")
    switch(looks, "refresh", False, "pages in a browser reload themselves with the application")
    switch(looks, "debugger", False, "Werkzeug's debugger, with a console in the page of an error")
    switch(looks, "validate", True, "check the application against PEP 3333")
    looks.add_argument(
        "--slow",
        type=seconds,
        default=0.5,
        metavar="SECONDS",
        help="longer requests stand out",
    )
    looks.add_argument(
        "--debugpy",
        type=debug_address,
        metavar="[HOST:]PORT",
        help="listen for a debugger that speaks DAP, such as VS Code",
    )
    return parser


def switch(group: argparse._ArgumentGroup, name: str, default: bool, text: str) -> None:
    state = "on" if default else "off"
    group.add_argument(
        f"--{name}",
        action=argparse.BooleanOptionalAction,
        default=default,
        help=f"{text} (default: {state})",
    )


def port_number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; it must be a number up to 65535")
    return int(text)


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; it must be seconds, such as 0.5")
    return value


def debug_address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return (host.strip("[]") or "127.0.0.1", port_number(port))
