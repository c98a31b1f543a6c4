"""TLS and HTTP/2 beside nginx and the peers: `.venv/bin/python bench/https.py`.

Each server has one worker, one core and the same ECDSA certificate; the client has the other core.
A round measures every server once, and the next round measures them in the opposite order. The
figure is the processor time of all processes of the server per answered request.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from statistics import median

import machine
import peers
from process import BENCH, BUILD, TICKS, DidNotServe, free_port, process_stat, process_tree

START_SECONDS = 20.0
STOP_SECONDS = 10.0
CLIENT_SECONDS = 120.0
CERTIFICATE, KEY = BUILD / "https.crt", BUILD / "https.key"
NGINX = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    sendfile on;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    fastcgi_temp_path {folder};
    uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    server {{
        listen 127.0.0.1:{port} {listen};
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        default_type application/octet-stream;
        location = /big {{ root {folder}; }}
        location / {{ default_type text/plain; return 200 "Hello, World!"; }}
    }}
}}
"""
PYTHON = ".venv/bin/"
COMMANDS = {
    "lockgate": {
        "https": "lockgate {app} -b https://127.0.0.1:{port} -w 1"
        " --certfile {certificate} --keyfile {key}",
        "http": "lockgate {app} -b http://127.0.0.1:{port} -w 1",
    },
    "granian": {
        "https": "granian {app} --interface wsgi --host 127.0.0.1 --port {port} --workers 1"
        " --log-level error --ssl-certificate {certificate} --ssl-keyfile {key}",
        "http": "granian {app} --interface wsgi --host 127.0.0.1 --port {port} --workers 1"
        " --log-level error",
    },
    "gunicorn": {
        "https": "gunicorn {app} -b 127.0.0.1:{port} -w 1 -k gthread --threads 4 --log-level error"
        " --no-control-socket --certfile {certificate} --keyfile {key} --http-protocols h2,h1",
        "http": "gunicorn {app} -b 127.0.0.1:{port} -w 1 -k gthread --threads 4 --log-level error"
        " --no-control-socket --http-protocols h2,h1 --http2-cleartext prior-knowledge",
    },
    "hypercorn": {
        "https": "hypercorn wsgi:{app} -b 127.0.0.1:{port} -w 1 --log-level error"
        " --certfile {certificate} --keyfile {key}",
        "http": "hypercorn wsgi:{app} -b 127.0.0.1:{port} -w 1 --log-level error",
    },
    "peregrine": {
        "https": "peregrine {app} --host 127.0.0.1 --port {port} --workers 1 --protocol wsgi"
        " --tls-cert {certificate} --tls-key {key}",
        "http": "peregrine {app} --host 127.0.0.1 --port {port} --workers 1 --protocol wsgi",
    },
    "weft": {
        "https": "weft {app} --protocol wsgi --host 127.0.0.1 --port {port} --workers 1"
        " --log-level error --tls-cert {certificate} --tls-key {key}",
        "http": "weft {app} --protocol wsgi --host 127.0.0.1 --port {port} --workers 1"
        " --log-level error",
    },
}


@dataclass(frozen=True)
class Scenario:
    """What a client asks, and of which application."""

    name: str
    about: str
    app: str
    path: str
    scheme: str
    # wrk (HTTP/1) or h2load (HTTP/2), without the URL.
    client: tuple[str, ...]


KEEP = ("wrk", "-t", "1", "-c", "64")
CLOSING = ("wrk", "-t", "1", "-c", "16", "-H", "Connection: close")
# As many connections as requests.
NEW_CONNECTIONS = 400
EACH_NEW = ("h2load", "--h1", "-t", "1", "-c", str(NEW_CONNECTIONS), "-n", str(NEW_CONNECTIONS))
H2LOAD = ("h2load", "-t", "1", "-c", "8", "-m", "32")
SCENARIOS = (
    # wrk resumes sessions, h2load does not.
    Scenario("handshake", "a full handshake and one hello", "apps:hello", "/", "https", EACH_NEW),
    Scenario("resumed", "a resumed handshake and one hello", "apps:hello", "/", "https", CLOSING),
    Scenario("hello_tls", "hello over kept TLS", "apps:hello", "/", "https", KEEP),
    Scenario(
        "big_tls", "1 MiB over kept TLS", "apps:big", "/big", "https", ("wrk", "-t", "1", "-c", "8")
    ),
    Scenario("hello_h2", "hello, HTTP/2 over TLS, 8 × 32", "apps:hello", "/", "https", H2LOAD),
    Scenario("hello_h2c", "hello, HTTP/2 in cleartext, 8 × 32", "apps:hello", "/", "http", H2LOAD),
    Scenario("flask_h1", "a Flask view over kept TLS", "flask_apps:app", "/", "https", KEEP),
    Scenario("flask_h2", "the same, HTTP/2 over TLS", "flask_apps:app", "/", "https", H2LOAD),
)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure TLS and HTTP/2 side by side.")
    parser.add_argument("-s", "--scenarios", default=",".join(s.name for s in SCENARIOS))
    parser.add_argument("-S", "--servers", default=",".join(["nginx", *COMMANDS]))
    parser.add_argument("-r", "--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("-d", "--seconds", type=float, default=4, help="of a round (default: 4)")
    options = parser.parse_args()
    for program in ("wrk", "h2load", "openssl"):
        if not shutil.which(program):
            print(
                f"bench: {program} is missing: apt install wrk nghttp2-client openssl",
                file=sys.stderr,
            )
            return 2
    try:
        peers.set_up()
    except peers.CannotSetUp as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    make_files()
    servers = []
    for name in options.servers.split(","):
        program = "nginx" if name == "nginx" else str(BENCH / PYTHON / name)
        if shutil.which(program):
            servers.append(name)
        else:
            print(f"bench: skipped {name}: it is not installed", flush=True)
    for scenario in SCENARIOS:
        if scenario.name not in options.scenarios.split(","):
            continue
        found: dict[str, list[float]] = {}
        for number in range(options.rounds):
            for server in servers if number % 2 == 0 else reversed(servers):
                if server == "nginx" and scenario.app.startswith("flask"):
                    continue
                try:
                    found.setdefault(server, []).append(measure(server, scenario, options.seconds))
                except (DidNotServe, OSError, subprocess.SubprocessError) as error:
                    print(f"bench: {scenario.name} {server}: {error}", flush=True)
        print(table(scenario, found), flush=True)
    return 0


def table(scenario: Scenario, found: dict[str, list[float]]) -> str:
    lines = [f"\n{scenario.name}: {scenario.about}\n"]
    lines.append("| server | CPU µs/request | min..max | × lockgate |\n|---|--:|--:|--:|")
    own = median(found["lockgate"]) if found.get("lockgate") else None
    for server, figures in sorted(found.items(), key=lambda item: median(item[1] or [0])):
        if figures:
            middle = median(figures)
            times = f"{middle / own:.2f}" if own else ""
            spread = f"{min(figures):.2f}..{max(figures):.2f}"
            lines.append(f"| {server} | {middle:.2f} | {spread} | {times} |")
    return "\n".join(lines)


def make_files() -> None:
    """The certificate, and the file that nginx sends."""
    if not CERTIFICATE.exists():
        command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365"
        command += " -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
        subprocess.run(
            [*command.split(), "-keyout", str(KEY), "-out", str(CERTIFICATE)],
            check=True,
            capture_output=True,
        )
        # nginx's worker process may run as another user.
        KEY.chmod(0o644)
    (BUILD / "big").write_bytes(b"x" * (1 << 20))


def measure(server: str, scenario: Scenario, seconds: float) -> float:
    """Microseconds of processor time per request."""
    cores = machine.cores()
    port = free_port()
    process = start(server, scenario, port, cores[0])
    try:
        wait_until_served(process, port, scenario)
        url = f"{scenario.scheme}://127.0.0.1:{port}{scenario.path}"
        client = ["taskset", "-c", str(cores[-1]), *scenario.client]
        count = 0
        if scenario.client[0] == "wrk":
            run(client + ["-d", "1s", url])
            before = used(process.pid)
            count = requests_of_wrk(run(client + ["-d", f"{round(seconds)}s", url]))
        elif scenario.client == EACH_NEW:
            run([*client, url])
            before, end = used(process.pid), time.monotonic() + seconds
            while time.monotonic() < end:
                count += requests_of_h2load(run([*client, url]), NEW_CONNECTIONS, "http/1.1")
        else:
            warm_up = 2000
            moment = time.monotonic()
            requests_of_h2load(run(client + ["-n", str(warm_up), url]), warm_up)
            rate = warm_up / (time.monotonic() - moment)
            wanted = max(warm_up, round(rate * seconds))
            before = used(process.pid)
            count = requests_of_h2load(run(client + ["-n", str(wanted), url]), wanted)
        return (used(process.pid) - before) / count * 1e6
    finally:
        stop(process)


def start(server: str, scenario: Scenario, port: int, core: int) -> subprocess.Popen[bytes]:
    if server == "nginx":
        listen = "ssl http2" if scenario.scheme == "https" else "http2"
        config = BUILD / f"https-{port}.conf"
        config.write_text(
            NGINX.format(folder=BUILD, port=port, listen=listen, certificate=CERTIFICATE, key=KEY)
        )
        command = ["nginx", "-p", ".", "-c", str(config), "-e", "stderr"]
    else:
        text = COMMANDS[server][scenario.scheme]
        text = text.format(app=scenario.app, port=port, certificate=CERTIFICATE, key=KEY)
        command = (PYTHON + text).split()
    with (BUILD / f"https-{server}.log").open("wb") as log:
        return subprocess.Popen(
            ["taskset", "-c", str(core), *command],
            cwd=BENCH,
            env=os.environ | {"PYTHONPATH": "."},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def wait_until_served(process: subprocess.Popen[bytes], port: int, scenario: Scenario) -> None:
    context = ssl.create_default_context(cafile=str(CERTIFICATE))
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DidNotServe(f"exited with {process.returncode}")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 3) as plain:
            if scenario.scheme == "http":
                return
            with context.wrap_socket(plain, server_hostname="localhost"):
                return
        time.sleep(0.05)
    raise DidNotServe("never listened")


def run(command: list[str]) -> str:
    done = subprocess.run(
        command, cwd=BENCH, capture_output=True, text=True, timeout=CLIENT_SECONDS
    )
    return done.stdout + done.stderr


def requests_of_wrk(text: str) -> int:
    found = re.search(r"(\d+) requests in", text)
    wrong = re.search(
        r"Non-2xx or 3xx responses|Socket errors: (?!connect 0, read \d+, write 0)", text
    )
    if not found or wrong or found[1] == "0":
        raise DidNotServe(f"wrk: {text.strip()[-200:]}")
    return int(found[1])


def requests_of_h2load(text: str, wanted: int, protocol: str = "h2") -> int:
    found = re.search(r"(\d+) succeeded", text)
    is_spoken = f"Application protocol: {protocol}" in text
    if not found or int(found[1]) != wanted or not is_spoken:
        raise DidNotServe(f"h2load: {text.strip()[-300:]}")
    status = re.search(r"status codes: (\d+) 2xx", text)
    if not status or int(status[1]) != wanted:
        raise DidNotServe(f"h2load: {text.strip()[-300:]}")
    return wanted


def used(root: int) -> float:
    """Processor seconds of a tree of processes."""
    stats = filter(None, map(process_stat, process_tree(root)))
    return sum(sum(int(field) for field in stat[11:15]) for stat in stats) / TICKS


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the processes that `start` has started, which are a session of their own."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(STOP_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
