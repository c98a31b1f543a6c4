"""CPU per request behind nginx, over a unix socket: `.venv/bin/python bench/uwsgi.py`.

nginx passes requests on by uwsgi_pass and by proxy_pass to Lockgate, and by uwsgi_pass to uWSGI
(pip install pyuwsgi) and gunicorn where they are installed. The CPU time of each server's processes
is divided by the number of requests; nginx is not counted. All run in each round.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median

from process import BENCH, process_stat, process_tree

START_SECONDS = 20.0
REQUEST = (
    b"GET /path?query=1 HTTP/1.1\r\nHost: example.com\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"
)
LOCKGATE = "-m lockgate apps:hello -w 1 --threads 1 --umask 0 -b "
SERVERS = {
    "Lockgate, uwsgi": ("lockgate", LOCKGATE + "uwsgi://unix:{path}"),
    "Lockgate, HTTP": ("lockgate", LOCKGATE + "unix:{path}"),
    "uWSGI": (
        "pyuwsgi",
        "{directory}/uwsgi --socket {path} --chmod-socket=666 --module apps:hello "
        "--disable-logging --enable-threads --listen 100",
    ),
    "gunicorn, uwsgi": ("gunicorn", "-m gunicorn apps:hello --protocol uwsgi -m 0 -b unix:{path}"),
}
NGINX = """
daemon off; worker_processes 1; pid {directory}/pid; error_log stderr emerg;
events {{ worker_connections 256; }}
http {{
    access_log off; keepalive_requests 1000000;
    client_body_temp_path {directory}/1; proxy_temp_path {directory}/2;
    fastcgi_temp_path {directory}/3; uwsgi_temp_path {directory}/4; scgi_temp_path {directory}/5;
    {servers}
}}
"""
OVER_UWSGI = "include /etc/nginx/uwsgi_params; uwsgi_pass unix:{path};"
# Without keep-alive, as over uwsgi.
OVER_HTTP = "proxy_pass http://unix:{path}; proxy_set_header Host $host;"


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure servers behind nginx.")
    parser.add_argument("-n", "--requests", type=int, default=20_000, help="default: 20000")
    parser.add_argument("-r", "--rounds", type=int, default=5, help="default: 5")
    options = parser.parse_args()
    if not shutil.which("nginx"):
        print("bench: nginx is missing: apt install nginx-light", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        return measure(Path(directory), options.requests, options.rounds)


def measure(directory: Path, requests: int, rounds: int) -> int:
    started: dict[str, tuple[subprocess.Popen[bytes], int]] = {}
    ports, sites = free_ports(len(SERVERS)), []
    for number, (name, (module, command)) in enumerate(SERVERS.items()):
        if importlib.util.find_spec(module) is None:
            print(f"bench: {name} is left out: {module} is not installed", file=sys.stderr)
            continue
        path, port = directory / f"{number}.sock", ports[number]
        programs = Path(sys.executable).parent
        arguments = command.format(path=path, directory=programs).split()
        if arguments[0] == "-m":
            arguments.insert(0, sys.executable)
        process = subprocess.Popen(
            arguments, cwd=BENCH, stderr=subprocess.DEVNULL, stdout=sys.stderr
        )
        started[name] = process, port
        passing = (OVER_HTTP if name.endswith("HTTP") else OVER_UWSGI).format(path=path)
        sites.append(f"server {{ listen 127.0.0.1:{port}; location / {{ {passing} }} }}")
    configuration = directory / "nginx.conf"
    configuration.write_text(NGINX.format(directory=directory, servers="\n".join(sites)))
    nginx = subprocess.Popen(["nginx", "-c", str(configuration)])
    try:
        for _, port in started.values():
            wait_for(port)
        costs: dict[str, list[float]] = {name: [] for name in started}
        for number in range(rounds):
            for name in list(started)[:: 1 if number % 2 == 0 else -1]:
                process, port = started[name]
                ask(port, requests // 20)
                before = cpu_seconds(process.pid)
                ask(port, requests)
                costs[name].append((cpu_seconds(process.pid) - before) / requests * 1e6)
    finally:
        for process in [nginx, *(process for process, _ in started.values())]:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
    print("| behind nginx, over a unix socket | CPU µs/request | min..max |\n|---|--:|--:|")
    for name, found in costs.items():
        print(f"| {name} | {median(found):.1f} | {min(found):.1f}..{max(found):.1f} |")
    return 0


def free_ports(count: int) -> list[int]:
    """Different ones, because all are open at the same time."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [server.getsockname()[1] for server in servers]


def wait_for(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with suppress(OSError):
            if ask(port, 1) == 200:
                return
        if time.monotonic() > deadline:
            raise SystemExit(f"bench: the server behind port {port} does not answer")
        time.sleep(0.1)


def ask(port: int, requests: int) -> int:
    """Sends requests on one connection to nginx, one after another; returns the last status."""
    status = 0
    with socket.create_connection(("127.0.0.1", port), START_SECONDS) as connection:
        with connection.makefile("rb") as stream:
            for _ in range(requests):
                connection.sendall(REQUEST)
                status = int(stream.readline().split()[1])
                length = 0
                while (line := stream.readline()) not in (b"\r\n", b""):
                    name, _, value = line.partition(b":")
                    if name.lower() == b"content-length":
                        length = int(value)
                stream.read(length)
    return status


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its descendants."""
    stats = [stat for stat in map(process_stat, process_tree(pid)) if stat]
    return sum(int(ticks) for stat in stats for ticks in stat[11:13]) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    raise SystemExit(main())
