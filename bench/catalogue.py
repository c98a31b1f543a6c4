"""The servers and the scenarios, one declarative entry each.

A command is run in this folder. It may name {app}, {port}, {workers}, and {config}: the path of
the entry's own template, written out with the port and the number of workers.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Server:
    name: str
    command: str
    # What must be there: a distribution in the virtualenv, or else a program.
    package: str | None = None
    program: str | None = None
    # The oldest Python on which that distribution can be imported.
    python: tuple[int, int] = (3, 10)
    tags: frozenset[str] = frozenset()
    # A need of a scenario that this server does not meet, and what happens instead.
    cannot: Mapping[str, str] = field(default_factory=dict)
    config: str | None = None

    def command_line(self, app: str, port: int, workers: int, config: str) -> list[str]:
        values = {"app": app, "port": port, "workers": workers, "config": config}
        return [word.format_map(values) for word in shlex.split(self.command)]


@dataclass(frozen=True)
class Scenario:
    name: str
    about: str
    app: str
    path: str = "/"
    headers: tuple[str, ...] = ()
    script: str | None = None
    # Bytes of the request's body and of the right answer; None: any answer with status 200.
    body: int = 0
    answer: int | None = 13
    # What a server has to be able to do: "python", "keep-alive", "pipelining" or "workers".
    needs: tuple[str, ...] = ("python",)
    workers: int = 1
    pinned: bool = True
    # The figure that this scenario is about, "cpu" or "rate": it orders the table and the chart.
    headline: str = "cpu"
    # The servers that are measured when none is named.
    servers: tuple[str, ...] = ("@default",)


def _server(name: str, command: str, *tags: str, **more: object) -> Server:
    return Server(name, command, tags=frozenset(tags), **more)  # type: ignore[arg-type]


CONSTANT = {"python": "answers a constant, without an application"}
ONE_REQUEST = {
    "keep-alive": "closes the connection after each answer",
    "pipelining": "closes the connection after each answer",
}
GUNICORN = (
    ".venv/bin/gunicorn {app} -b 127.0.0.1:{port} -w {workers} "
    "--backlog 2048 --log-level error --no-control-socket"
)
GRANIAN = (
    ".venv/bin/granian {app} --interface wsgi --http 1 --host 127.0.0.1 --port {port} "
    "--workers {workers} --log-level error"
)
UWSGI = (
    ".venv/bin/uwsgi --http-socket 127.0.0.1:{port} -w {app} -p {workers} --need-app "
    "--single-interpreter --listen 1024 --disable-logging --die-on-term"
)
PEREGRINE = (
    ".venv/bin/peregrine {app} --protocol wsgi --host 127.0.0.1 --port {port} "
    "--workers {workers} --log-level error"
)
WEFT = (
    ".venv/bin/weft {app} --protocol wsgi --host 127.0.0.1 --port {port} "
    "--workers {workers} --log-level error"
)
WAITRESS = ".venv/bin/waitress-serve --host 127.0.0.1 --port {port}"
LOCKGATE = ".venv/bin/lockgate {app} -b 127.0.0.1:{port} -w {workers}"
ONE_PROCESS = {"workers": "is one process"}

SERVERS = (
    _server("lockgate", LOCKGATE, "lockgate", "default", "blocking", package="lockgate"),
    _server("lockgate-t1", LOCKGATE + " --threads 1", "lockgate", package="lockgate"),
    # What a site may have: logs, metrics, ids, limits, routes, files, compression and the cache.
    _server(
        "lockgate-full",
        LOCKGATE + " -c routes.toml --access-logfile build/access.log --trace"
        " --admin-bind unix:build/admin.sock --request-timeout 30 --static /static=lua"
        " --compress --cache 64MiB",
        "lockgate",
        package="lockgate",
    ),
    # The floor: no Python in it.
    _server(
        "rust-only",
        "build/constant {port}",
        "constant",
        "default",
        program="build/constant",
        cannot=CONSTANT | ONE_PROCESS,
    ),
    _server(
        "rust-only-t1",
        "build/constant {port} 1",
        "constant",
        program="build/constant",
        cannot=CONSTANT | ONE_PROCESS,
    ),
    _server(
        "nginx",
        "nginx -p . -c {config} -e stderr",
        "constant",
        "default",
        program="nginx",
        config="nginx.conf",
        cannot=CONSTANT,
    ),
    # The application runs in the event loop: cheap, and one slow call stops everything.
    _server(
        "bjoern",
        ".venv/bin/python launch.py bjoern {app} {port} {workers}",
        "peer",
        "inline",
        "default",
        package="bjoern",
        cannot={"pipelining": "loses requests that arrive together"},
    ),
    _server(
        "fastpysgi",
        ".venv/bin/python launch.py fastpysgi {app} {port} {workers}",
        "peer",
        "inline",
        package="fastpysgi",
    ),
    _server(
        "fastwsgi",
        ".venv/bin/python launch.py fastwsgi {app} {port} {workers}",
        "peer",
        "inline",
        package="fastwsgi",
    ),
    _server("peregrine", PEREGRINE, "peer", "inline", "default", package="peregrine-server"),
    # Its wheel for 3.11 needs a symbol that 3.11 does not have.
    _server("weft", WEFT, "peer", "inline", "default", package="weft-server", python=(3, 12)),
    # A native front, and threads for the application.
    _server(
        "peregrine-t32",
        PEREGRINE + " --wsgi-threads 32",
        "peer",
        "tuned",
        package="peregrine-server",
    ),
    _server(
        "weft-t32",
        WEFT + " --wsgi-threads 32",
        "peer",
        "tuned",
        package="weft-server",
        python=(3, 12),
    ),
    _server("granian", GRANIAN, "peer", "default", "blocking", package="granian"),
    _server("granian-t32", GRANIAN + " --blocking-threads 32", "peer", "tuned", package="granian"),
    _server("uwsgi", UWSGI, "peer", package="pyuwsgi", cannot=ONE_REQUEST),
    _server(
        "uwsgi-t32",
        UWSGI + " --enable-threads --threads 32",
        "peer",
        "tuned",
        package="pyuwsgi",
        cannot=ONE_REQUEST,
    ),
    # Python all the way.
    _server("gunicorn-sync", GUNICORN, "peer", package="gunicorn", cannot=ONE_REQUEST),
    _server(
        "gunicorn-gthread",
        GUNICORN + " -k gthread --threads 4",
        "peer",
        "default",
        "blocking",
        package="gunicorn",
    ),
    _server(
        "gunicorn-gthread-t32",
        GUNICORN + " -k gthread --threads 32",
        "peer",
        "tuned",
        package="gunicorn",
    ),
    _server("gunicorn-gevent", GUNICORN + " -k gevent", "peer", "blocking", package="gevent"),
    _server("waitress", WAITRESS + " {app}", "peer", package="waitress", cannot=ONE_PROCESS),
    _server(
        "waitress-t32",
        WAITRESS + " --threads 32 {app}",
        "peer",
        "tuned",
        package="waitress",
        cannot=ONE_PROCESS,
    ),
)

# With Host these are the nine headers that Firefox sends for a page behind a login.
BROWSER = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language: en-GB,en;q=0.7,de;q=0.3",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Referer: http://127.0.0.1/start",
    "Cookie: session=c2Vzc2lvbi1vZi1hLXVzZXI; theme=dark",
    "Upgrade-Insecure-Requests: 1",
    "X-Request-ID: 7f1c0d62a5be49d3",
)
BLOCKING = ("@blocking", "@tuned")
WHOLE_PYTHON = ("@default", "fastpysgi", "uwsgi")

SCENARIOS = (
    Scenario("hello", "13 bytes, keep-alive", "apps:hello", needs=()),
    Scenario(
        "hello_browser",
        "hello with a browser's nine headers and a query",
        "apps:hello",
        "/?q=abc&page=2",
        BROWSER,
        needs=(),
    ),
    Scenario(
        "close",
        "hello, a connection per request",
        "apps:hello",
        "/",
        ("Connection: close",),
        needs=(),
    ),
    Scenario(
        "pipelined",
        "hello, 16 requests in one write",
        "apps:hello",
        script="lua/pipelined.lua",
        needs=("pipelining",),
    ),
    Scenario("flask_hello", "a string from Flask", "flask_apps:app"),
    Scenario(
        "flask_json",
        "1.2 KB of JSON from Flask, browser's headers, query read",
        "flask_apps:app",
        "/json?q=abc",
        BROWSER,
        answer=None,
    ),
    Scenario(
        "sleep10", "every call waits 10 ms", "apps:sleep10", headline="rate", servers=BLOCKING
    ),
    Scenario(
        "mixed",
        "90 % instant calls, 10 % wait 50 ms",
        "apps:mixed",
        "/instant",
        script="lua/mixed.lua",
        headline="rate",
        servers=BLOCKING,
    ),
    Scenario(
        "post",
        "a body of 64 KiB is read",
        "apps:post",
        script="lua/post.lua",
        body=65536,
        answer=5,
        servers=WHOLE_PYTHON,
    ),
    Scenario("big", "1 MiB in one piece", "apps:big", answer=1 << 20, servers=WHOLE_PYTHON),
    Scenario("stream", "100 pieces of 1 KiB", "apps:stream", answer=102_400, servers=WHOLE_PYTHON),
    Scenario("cpu", "5 ms of Python", "apps:cpu", answer=None),
    Scenario(
        "workers2_hello",
        "hello, two workers, not pinned",
        "apps:hello",
        needs=("workers",),
        workers=2,
        pinned=False,
    ),
    Scenario(
        "workers2_flask",
        "flask_hello, two workers, not pinned",
        "flask_apps:app",
        needs=("python", "workers"),
        workers=2,
        pinned=False,
    ),
    Scenario(
        "rust",
        "hello without Python: the engine by itself",
        "apps:hello",
        needs=(),
        servers=("@constant",),
    ),
)
DEFAULT_SCENARIOS = ("hello", "flask_hello", "flask_json")


def choose_servers(wanted: Iterable[str]) -> list[Server]:
    """Servers by name, `@tag` or `all`, in the given order; a KeyError has the unknown name."""
    chosen: dict[str, Server] = {}
    for word in wanted:
        found = [
            server
            for server in SERVERS
            if word in (server.name, "all")
            or word.removeprefix("@") in server.tags
            and word[0] == "@"
        ]
        if not found:
            raise KeyError(word)
        chosen.update((server.name, server) for server in found)
    return list(chosen.values())


def choose_scenarios(wanted: Iterable[str]) -> list[Scenario]:
    """Scenarios by name or all with `all`; a KeyError has the unknown name."""
    chosen: dict[str, Scenario] = {}
    for word in wanted:
        found = [scenario for scenario in SCENARIOS if word in (scenario.name, "all")]
        if not found:
            raise KeyError(word)
        chosen.update((scenario.name, scenario) for scenario in found)
    return list(chosen.values())


def obstacle(server: Server, scenario: Scenario) -> str | None:
    """Why this server cannot take part in this scenario."""
    return next((server.cannot[need] for need in scenario.needs if need in server.cannot), None)
