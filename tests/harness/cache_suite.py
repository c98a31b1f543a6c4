"""The npm package http-cache-tests, with its origin: how a cache does by RFC 9111.

    python -m harness.cache_suite nginx | URL [TEST…]

in `tests/` prints the score of nginx's proxy_cache, or that of the cache at URL before an origin at
http://127.0.0.1:ORIGIN, which it prints first.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.npm import unpack_package
from harness.patience import eventually
from harness.process import free_port
from harness.requirements import require_program
from harness.wire import Wire

HERE = Path(__file__).resolve().parent
SUITE = "http-cache-tests@0.4.5"
# node-fetch and what it imports.
PACKAGES = (
    "node-fetch@2.7.0",
    "whatwg-url@5.0.0",
    "tr46@0.0.3",
    "webidl-conversions@3.0.1",
)
PATIENCE = 240
NGINX = """
daemon off;
worker_processes 1;
{user}
pid {directory}/pid;
error_log {directory}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    proxy_cache_path {directory}/cache levels=1:2 keys_zone=store:8m max_size=100m inactive=600m;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{origin};
            proxy_cache store;
            proxy_cache_revalidate on;
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Case:
    """A test of the suite and what has become of it."""

    group: str
    id: str
    name: str
    #: required, optimal or check, which has no right answer.
    kind: str
    depends_on: list[str]
    #: None, or Assertion, Setup (the test could not be carried out) or an exception's name.
    failure: str | None
    reason: str | None

    @property
    def has_failed(self) -> bool:
        return self.failure is not None and self.failure != "Setup"


class Origin:
    """The suite's own server. `end` stops it."""

    def __init__(self, suite: Path, directory: Path) -> None:
        program = require_program("node", package="nodejs")
        self.port = free_port()
        settings = {"protocol": "http", "port": self.port, "pidfile": directory / "origin.pid"}
        names = {f"npm_config_{name}": str(value) for name, value in settings.items()}
        script = suite / "server/server.mjs"
        if not script.exists():
            script = suite / "test-engine/server/server.mjs"
        self.log_path = directory / "origin.log"
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [program, "--require", HERE / "loopback.cjs", script],
                cwd=suite,
                env={**os.environ, **names},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        eventually(self._listens, within=20, what="the origin listens")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _listens(self) -> bool:
        assert self.process.poll() is None, self.log_path.read_text()
        return _accepts(self.port)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


class Nginx:
    """nginx's proxy_cache before an origin, as the suite's own comparison has it."""

    def __init__(self, directory: Path, origin: int, template: str = NGINX) -> None:
        program = require_program("nginx", package="nginx-light", directories=("/usr/sbin",))
        self.port = free_port()
        self.log_path = directory / "error.log"
        user = "user root;" if os.geteuid() == 0 else ""
        text = template.format(directory=directory, port=self.port, origin=origin, user=user)
        path = directory / "nginx.conf"
        path.write_text(text)
        self.process = subprocess.Popen(
            [program, "-p", directory, "-c", path, "-e", "error.log"], stdin=subprocess.DEVNULL
        )
        eventually(self._listens, within=20, what="nginx listens")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _listens(self) -> bool:
        assert self.process.poll() is None, self.log_path.read_text()
        return _accepts(self.port)

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(20)


def fetch_suite(directory: Path) -> Path:
    """The suite and what it imports, below `directory`."""
    for package in PACKAGES:
        unpack_package(package, directory)
    return unpack_package(SUITE, directory)


def run_suite(suite: Path, url: str, *ids: str) -> list[Case]:
    """The tests of the suite against the cache at `url`; takes half a minute."""
    program = require_program("node", package="nodejs")
    done = subprocess.run(
        [program, "--no-warnings", HERE / "cache_suite.mjs", suite, url, *ids],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    cases = [Case(**json.loads(line)) for line in lines]
    # A test whose precondition does not hold says nothing.
    passed = {case.id for case in cases if case.failure is None}
    return [
        case
        if set(case.depends_on) <= passed or case.failure is None
        else Case(**{**vars(case), "failure": "Setup", "reason": f"needs {case.depends_on}"})
        for case in cases
    ]


def score(cases: Iterable[Case]) -> str:
    """A line for each group: how many passed and failed, by kind."""
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    total: Counter[str] = Counter()
    for case in cases:
        outcome = "failed" if case.has_failed else "setup" if case.failure else "passed"
        for counter in (groups[case.group], total):
            counter[f"{case.kind} {outcome}"] += 1
            counter[outcome] += 1
            counter["all"] += 1
    columns = ("all", "passed", *(f"{kind} failed" for kind in ("required", "optimal", "check")))
    columns += ("setup",)
    lines = ["| group | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, counter in [*groups.items(), ("total", total)]:
        lines.append(f"| {name} | " + " | ".join(str(counter[key]) for key in columns) + " |")
    return "\n".join(lines)


def _accepts(port: int) -> bool:
    try:
        Wire(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def main() -> None:
    target, *ids = sys.argv[1:]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        given = os.environ.get("CACHE_SUITE")
        suite = Path(given) if given else fetch_suite(directory)
        origin = Origin(suite, directory)
        nginx = Nginx(directory, origin.port) if target == "nginx" else None
        print(f"origin: {origin.url}", flush=True)
        try:
            cases = run_suite(suite, nginx.url if nginx else target, *ids)
        finally:
            origin.end()
            if nginx:
                nginx.end()
    print(score(cases))
    for case in cases:
        if case.failure:
            print(f"{case.failure}\t{case.kind}\t{case.group}/{case.id}\t{case.reason}")


if __name__ == "__main__":
    main()
