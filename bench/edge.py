"""Files, compression and the cache beside nginx: `.venv/bin/python bench/edge.py`.

Each server has one worker and one core; wrk has the other core. All run at the same time, and in
each round each is measured once, in turns from the first and from the last. The figure is the
processor time of all processes of the server per request; nginx has sendfile, open_file_cache,
gzip_static and proxy_cache, without tcp_nopush, which triples the cost of large files on loopback.
`nginx+upstream` is the time of nginx and of the Lockgate that it passes the request on to.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from statistics import median

import machine
import peers
from edge_apps import FILES, PAGES, page
from process import (
    BENCH,
    BUILD,
    TICKS,
    DidNotServe,
    free_port,
    process_stat,
    process_tree,
)

START_SECONDS = 20.0
STOP_SECONDS = 10.0
WARM_UP_SECONDS = 0.5
NGINX = """
worker_processes 1;
daemon off;
pid {build}/edge-nginx.pid;
error_log stderr error;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    sendfile on;
    open_file_cache max=1000 inactive=60s;
    open_file_cache_valid 1s;
    open_file_cache_errors on;
    gzip_static on;
    types {{ text/css css; application/octet-stream bin; text/html html; }}
    client_body_temp_path {build}/edge-temp;
    proxy_temp_path {build}/edge-temp;
    fastcgi_temp_path {build}/edge-temp;
    uwsgi_temp_path {build}/edge-temp;
    scgi_temp_path {build}/edge-temp;
    proxy_cache_path {build}/edge-cache keys_zone=store:8m max_size=100m;
    upstream app {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{port};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Accept-Encoding "";
        location /static {{ alias {files}; }}
        location = /constant {{ default_type text/html; return 200 "Hello, World!"; }}
        location = /page {{ gzip on; default_type text/html; alias {files}/page.html; }}
        location = /passed {{ gzip on; proxy_pass http://app/page; }}
        location /hit {{ proxy_cache store; proxy_pass http://app; }}
    }}
}}
"""
LOCKGATE = "lockgate edge_apps:app -b 127.0.0.1:{port} -w 1"
COMMANDS = {
    "lockgate": LOCKGATE + " --static /static={files} --compress --cache 64MiB",
    # What nginx passes requests on to.
    "upstream": LOCKGATE,
    "rust-only": "../build/constant {port}",
    "whitenoise": "gunicorn edge_apps:whitenoise() -b 127.0.0.1:{port} -w 1 -k gthread --threads 4"
    " --log-level error --no-control-socket",
    "peregrine": "peregrine edge_apps:app --host 127.0.0.1 --port {port} --workers 1"
    " --protocol wsgi --static-dir /static={files} --compress-static --compress --cache-size 64",
    "weft": "weft edge_apps:app --host 127.0.0.1 --port {port} --workers 1 --log-level error"
    " --protocol wsgi --static-dir /static={files} --compress-static --compress --cache-size 64",
    "granian": "granian edge_apps:app --interface wsgi --host 127.0.0.1 --port {port} --workers 1"
    " --log-level error --static-path-route /static --static-path-mount {files}",
}
FILE_SERVERS = ("lockgate", "nginx", "whitenoise", "peregrine", "weft", "granian")


@dataclass(frozen=True)
class Scenario:
    """A request, what its response must be, and the servers that can answer it."""

    name: str
    about: str
    path: str
    servers: tuple[str, ...]
    status: int = 200
    # Of the body as it is sent; None where each server has its own.
    length: int | None = None
    headers: tuple[str, ...] = ()
    coding: str | None = None
    connections: int = 64
    # Servers with another path or other headers.
    paths: tuple[tuple[str, str], ...] = ()
    codings: tuple[tuple[str, str], ...] = ()

    def path_of(self, server: str) -> str:
        return dict(self.paths).get(server, self.path)

    def coding_of(self, server: str) -> str | None:
        return dict(self.codings).get(server, self.coding)

    def headers_of(self, server: str) -> list[str]:
        coding = self.coding_of(server)
        return [*self.headers, *([f"Accept-Encoding: {coding}"] if coding else [])]


SCENARIOS = (
    Scenario("file4k", "a file of 4 KiB", "/static/4k.bin", FILE_SERVERS, length=4096),
    Scenario(
        "file1m",
        "a file of 1 MiB",
        "/static/1m.bin",
        FILE_SERVERS,
        length=1 << 20,
        connections=8,
    ),
    Scenario(
        "range",
        "64 KiB out of a file of 1 MiB",
        "/static/1m.bin",
        FILE_SERVERS,
        206,
        1 << 16,
        ("Range: bytes=300000-365535",),
        connections=16,
    ),
    Scenario(
        "sidecar",
        "a style sheet of 20 KB with a .gz",
        "/static/site.css",
        FILE_SERVERS,
        coding="gzip",
    ),
    Scenario(
        "constant",
        "hello without an application",
        "/constant",
        ("nginx", "rust-only"),
        length=13,
    ),
    Scenario(
        "hit", "hello from the cache", "/hit", ("lockgate", "nginx", "peregrine", "weft"), length=13
    ),
    Scenario(
        "hit4k",
        "4 KiB from the cache",
        "/hit4k",
        ("lockgate", "nginx", "peregrine", "weft"),
        length=4096,
    ),
    Scenario(
        "identity",
        "20 KB of HTML from the application; nginx has it in a file",
        "/page",
        ("lockgate", "nginx", "nginx+upstream", "peregrine", "weft"),
        length=20_000,
        paths=(("nginx+upstream", "/passed"),),
    ),
    Scenario(
        "dynamic",
        "the same, compressed: zstd, nginx gzip",
        "/page",
        ("lockgate", "nginx", "nginx+upstream", "peregrine", "weft"),
        coding="zstd",
        codings=(("nginx", "gzip"), ("nginx+upstream", "gzip")),
        paths=(("nginx+upstream", "/passed"),),
    ),
    Scenario(
        "dynamic_gzip",
        "the same, all with gzip",
        "/page",
        ("lockgate", "nginx", "peregrine", "weft"),
        coding="gzip",
    ),
)


class Running:
    """The servers of a run; leaving this context manager stops them."""

    def __init__(self, wanted: set[str], core: int) -> None:
        self.core = core
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ports: dict[str, int] = {}
        names = [name for name in COMMANDS if name in wanted or name == "upstream"]
        self.names = [*names, *(["nginx"] if "nginx" in wanted else [])]

    def __enter__(self) -> Running:
        shutil.rmtree(BUILD / "edge-cache", ignore_errors=True)
        for name in self.names:
            try:
                self._start(name)
            except (DidNotServe, OSError) as error:
                print(f"bench: {name} is left out: {error}", flush=True)
        return self

    def _start(self, name: str) -> None:
        # A port stays free until its server listens; the next server must not get the same one.
        port = self.ports[name] = free_port()
        if name == "nginx":
            config = BUILD / "edge-nginx.conf"
            text = NGINX.format(
                build=BUILD, files=FILES, port=port, upstream=self.ports["upstream"]
            )
            config.write_text(("user root;" if os.geteuid() == 0 else "") + text)
            command = ["nginx", "-p", ".", "-c", str(config), "-e", "stderr"]
        else:
            command = COMMANDS[name].format(port=port, files=FILES).split()
            command[0] = str(BENCH / ".venv/bin" / command[0])
            if name == "rust-only":
                command[0] = str(BUILD / "constant")
        if not shutil.which(command[0]):
            raise DidNotServe(f"{command[0]} is not installed")
        with (BUILD / f"edge-{name}.log").open("wb") as log:
            process = self.processes[name] = subprocess.Popen(
                ["taskset", "-c", str(self.core), *command],
                cwd=BENCH,
                env=os.environ | {"PYTHONPATH": "."},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            with suppress(OSError, http.client.HTTPException):
                ask(port, "/", [])
                return
            if process.poll() is not None or time.monotonic() > deadline:
                lines = (BUILD / f"edge-{name}.log").read_text(errors="replace").splitlines()
                raise DidNotServe(f"does not answer: {(lines or ['no reason given'])[-1][:200]}")
            time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        trees = {name: process_tree(process.pid) for name, process in self.processes.items()}
        for process in self.processes.values():
            process.terminate()
        for name, process in self.processes.items():
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            for pid in trees[name] if process.poll() is None else []:
                with suppress(ProcessLookupError):
                    os.kill(pid, 9)
            process.wait(STOP_SECONDS)

    def used(self, server: str) -> float:
        """Processor seconds of a server's processes, of both for nginx+upstream."""
        roots = [self.processes[name].pid for name in server.split("+")]
        stats = [process_stat(pid) for root in roots for pid in process_tree(root)]
        return sum(sum(map(int, stat[11:15])) for stat in stats if stat) / TICKS

    def port(self, server: str) -> int:
        return self.ports[server.partition("+")[0]]

    def has(self, server: str) -> bool:
        return all(
            name in self.processes and self.processes[name].poll() is None
            for name in server.split("+")
        )


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure files, compression and the cache.")
    parser.add_argument("-s", "--scenarios", default=",".join(s.name for s in SCENARIOS))
    every = ["nginx", "nginx+upstream", *(name for name in COMMANDS if name != "upstream")]
    parser.add_argument("-S", "--servers", default=",".join(every))
    parser.add_argument("-r", "--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("-d", "--seconds", type=int, default=2, help="of a round (default: 2)")
    options = parser.parse_args()
    for program, package in (("wrk", "wrk"), ("nginx", "nginx-light"), ("taskset", "util-linux")):
        if not shutil.which(program):
            print(f"bench: {program} is missing: apt install {package}", file=sys.stderr)
            return 2
    try:
        peers.set_up()
    except peers.CannotSetUp as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    make_files()
    servers = options.servers.split(",")
    chosen = [s for s in SCENARIOS if s.name in options.scenarios.split(",")]
    wanted = {
        part for s in chosen for name in s.servers if name in servers for part in name.split("+")
    }
    cores = machine.cores()
    with Running(wanted, cores[0]) as running:
        for scenario in chosen:
            names = [name for name in scenario.servers if name in servers and running.has(name)]
            print(compare(running, scenario, names, options, cores[-1]), flush=True)
    return 0


def make_files() -> None:
    FILES.mkdir(parents=True, exist_ok=True)
    (FILES / "4k.bin").write_bytes(os.urandom(4096))
    (FILES / "1m.bin").write_bytes(os.urandom(1 << 20))
    (FILES / "site.css").write_bytes(page(20_000))
    (FILES / "site.css.gz").write_bytes(gzip.compress(page(20_000), 9, mtime=0))
    (FILES / "page.html").write_bytes(PAGES["/page"])
    for path in FILES.iterdir():
        path.chmod(0o644)


def compare(
    running: Running, scenario: Scenario, names: list[str], options: argparse.Namespace, core: int
) -> str:
    sizes: dict[str, int] = {}
    for name in names:
        try:
            sizes[name] = check(running.port(name), scenario, name)
        except (DidNotServe, OSError, http.client.HTTPException) as error:
            print(f"bench: {scenario.name}: {name} is left out: {error}", flush=True)
    found: dict[str, list[float]] = {name: [] for name in sizes}
    for name in sizes:
        load(running, scenario, name, WARM_UP_SECONDS, core)
    for number in range(options.rounds):
        for name in list(sizes)[:: 1 if number % 2 == 0 else -1]:
            before = running.used(name)
            count = load(running, scenario, name, options.seconds, core)
            found[name].append((running.used(name) - before) / count * 1e6)
    return table(scenario, found, sizes)


def check(port: int, scenario: Scenario, name: str) -> int:
    """The length of the response; it must be what the scenario asks for."""
    first, second = (ask(port, scenario.path_of(name), scenario.headers_of(name)) for _ in range(2))
    for response, body in (first, second):
        if response.status != scenario.status:
            raise DidNotServe(f"status {response.status}")
        if scenario.length not in (None, len(body)):
            raise DidNotServe(f"{len(body)} bytes instead of {scenario.length}")
        if response.getheader("Content-Encoding") != scenario.coding_of(name):
            raise DidNotServe(f"Content-Encoding: {response.getheader('Content-Encoding')}")
    calls = [response.getheader("X-Call") for response, _ in (first, second)]
    if scenario.name.startswith("hit") and calls[0] != calls[1]:
        raise DidNotServe("the second response is not from the cache")
    return len(second[1])


def ask(port: int, path: str, headers: list[str]) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.putrequest("GET", path, skip_accept_encoding=True)
        for line in headers:
            connection.putheader(*line.split(": ", 1))
        connection.endheaders()
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def load(running: Running, scenario: Scenario, name: str, seconds: float, core: int) -> int:
    """How many requests were answered."""
    command = ["taskset", "-c", str(core), "wrk", "-t", "1", "-c", str(scenario.connections)]
    for line in scenario.headers_of(name):
        command += ["-H", line]
    # wrk takes whole seconds.
    command += ["-d", f"{max(1, round(seconds))}s"]
    command.append(f"http://127.0.0.1:{running.port(name)}{scenario.path_of(name)}")
    text = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    counted = re.search(r"(\d+) requests in", text)
    if not counted or counted[1] == "0" or "Non-2xx" in text or "Socket errors" in text:
        raise SystemExit(f"bench: {scenario.name}: {name}: wrk says {text.strip()[-300:]}")
    return int(counted[1])


def table(scenario: Scenario, found: dict[str, list[float]], sizes: dict[str, int]) -> str:
    lines = [f"\n{scenario.name}: {scenario.about}\n"]
    lines.append("| server | CPU µs/request | min..max | × nginx | bytes |")
    lines.append("|---|--:|--:|--:|--:|")
    base = median(found["nginx"]) if found.get("nginx") else None
    for name, figures in sorted(found.items(), key=lambda item: median(item[1] or [0])):
        if figures:
            middle = median(figures)
            times = f"{middle / base:.2f}" if base else ""
            spread = f"{min(figures):.2f}..{max(figures):.2f}"
            lines.append(f"| {name} | {middle:.2f} | {spread} | {times} | {sizes[name]} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
