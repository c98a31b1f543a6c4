"""Measures what no closed loop of equal requests shows. `--help` lists the situations.

Each one starts its own servers, round after round, and prints a line for each; nothing is written.
"""

from __future__ import annotations

import argparse
import os
import resource
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import load
import peers
from catalogue import SCENARIOS, Scenario, Server, choose_servers
from process import DidNotServe, Running
from sampler import Sampler, percentile

SERVER_CORE, CLIENT_CORE = 0, 1
ACTIVE = 64
SECONDS = 3
GIBIBYTE = 1 << 30
BLOCK = 1 << 20
Figures = dict[str, float]


def plain(app: str, path: str = "/") -> Scenario:
    return Scenario(app, "", f"apps:{app}", path, answer=None)


def with_flags(server: Server, flags: str) -> Server:
    """The same server with flags that only Lockgate knows."""
    return replace(server, command=f"{server.command} {flags}")


@contextmanager
def wrk(running: Running, path: str, connections: int, seconds: int) -> Iterator[list[load.Load]]:
    """Load beside what is done in the block; its figures are in the list afterwards."""
    scenario = replace(running.scenario, path=path)
    command = load.wrk_command(scenario, running.port, seconds, connections, CLIENT_CORE)
    results: list[load.Load] = []
    thread = threading.Thread(target=lambda: results.append(load.run(command, seconds)))
    thread.start()
    try:
        yield results
    finally:
        thread.join()


def cpu_per_request(running: Running, seconds: int = SECONDS) -> tuple[float, load.Load]:
    before = running.usage()
    with wrk(running, running.scenario.path, ACTIVE, seconds) as results:
        pass
    after = running.usage()
    used = after.user + after.system - before.user - before.system
    return used / results[0].requests * 1e6, results[0]


def silent(running: Running, count: int, stack: ExitStack, is_served: bool) -> None:
    """Opens connections that say nothing more."""
    for _ in range(count):
        connection = stack.enter_context(Sampler(running.port))
        if is_served:
            connection.ask()


def compute_beside_waits(server: Server) -> Figures:
    """eight clients of a 10 ms wait, alone and beside two clients of 5 ms of Python"""
    with Running(server, plain("both"), SERVER_CORE) as running:
        with wrk(running, "/", 8, SECONDS) as alone:
            pass
        with wrk(running, "/", 8, SECONDS) as waits, wrk(running, "/compute", 2, SECONDS) as cpu:
            pass
    return {
        "wait alone p99 ms": alone[0].p99 or 0,
        "beside p99 ms": waits[0].p99 or 0,
        "waits/s": waits[0].rate,
        "computed/s": cpu[0].rate,
    }


def instant_in_mixed(server: Server) -> Figures:
    """the mixed scenario with 64 clients, and a 65th that asks for the instant page"""
    scenario = next(scenario for scenario in SCENARIOS if scenario.name == "mixed")
    with Running(server, scenario, SERVER_CORE) as running:
        with (
            wrk(running, scenario.path, ACTIVE, SECONDS + 1) as mixed,
            Sampler(running.port) as sampler,
        ):
            time.sleep(0.5)
            times = sampler.ask_for(SECONDS, 0.002, "/instant")
    return {
        "p50 ms": percentile(times, 0.5),
        "p99 ms": percentile(times, 0.99),
        "all req/s": mixed[0].rate,
    }


def idle_connections(server: Server) -> Figures:
    """hello with 64 clients, alone and beside 5,000 connections that were served once"""
    with Running(server, plain("hello"), SERVER_CORE) as running, ExitStack() as stack:
        cpu_per_request(running, 1)
        alone, _ = cpu_per_request(running)
        before = running.usage().rss
        silent(running, 5_000, stack, is_served=True)
        memory = running.usage().rss - before
        beside, _ = cpu_per_request(running)
    return {
        "alone us": alone,
        "beside us": beside,
        "ratio": beside / alone,
        "KiB each": memory * 1024 / 5_000,
    }


def silent_connections(server: Server) -> Figures:
    """one client, one thread, alone and beside 10,000 connections that never say a word"""
    single = with_flags(server, "--threads 1 --worker-connections 20000 --head-timeout 600")
    with Running(single, plain("hello"), SERVER_CORE) as running, ExitStack() as stack:
        with Sampler(running.port) as sampler:
            alone = sampler.ask_for(SECONDS, 0.001)
            silent(running, 10_000, stack, is_served=False)
            beside = sampler.ask_for(SECONDS, 0.001)
    return {
        "alone p50 ms": percentile(alone, 0.5),
        "alone p99 ms": percentile(alone, 0.99),
        "beside p50 ms": percentile(beside, 0.5),
        "beside p99 ms": percentile(beside, 0.99),
    }


def cold_start(server: Server) -> Figures:
    """from the command line to the first answer of a Flask application"""
    scenario = next(scenario for scenario in SCENARIOS if scenario.name == "flask_hello")
    begun = time.perf_counter()
    with Running(server, scenario, SERVER_CORE):
        return {"first answer ms": (time.perf_counter() - begun) * 1000}


def upload(server: Server) -> Figures:
    """1 GiB to an application that reads it all; beside it, the same bytes from socket to socket"""
    scenario = plain("count")
    with Running(server, scenario, SERVER_CORE) as running:
        before = running.usage()
        with socket.create_connection(("127.0.0.1", running.port)) as client:
            head = f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {GIBIBYTE}\r\n\r\n"
            begun = time.perf_counter()
            client.sendall(head.encode())
            send_blocks(client)
            answer = client.recv(65536)
            took = time.perf_counter() - begun
        after = running.usage()
    if not answer.endswith(str(GIBIBYTE).encode()):
        raise DidNotServe(f"answered {answer[:60]!r}")
    copied = loopback_copy()
    return {
        "GiB/s": 1 / took,
        "bare copy GiB/s": 1 / copied,
        "share": copied / took,
        "CPU s": after.user + after.system - before.user - before.system,
    }


def send_blocks(client: socket.socket) -> None:
    block = bytes(BLOCK)
    for _ in range(GIBIBYTE // BLOCK):
        client.sendall(block)


def loopback_copy() -> float:
    """Seconds for the same bytes to a process that receives and does nothing else."""
    listener = socket.create_server(("127.0.0.1", 0))
    receive = (
        "import socket,sys\n"
        "c=socket.create_connection(('127.0.0.1',int(sys.argv[1])))\n"
        "b=bytearray(1<<20)\n"
        "while c.recv_into(b): pass\n"
    )
    port = str(listener.getsockname()[1])
    with subprocess.Popen(
        ["taskset", "-c", str(SERVER_CORE), sys.executable, "-c", receive, port]
    ) as process:
        client, _ = listener.accept()
        begun = time.perf_counter()
        send_blocks(client)
        client.close()
        process.wait()
        listener.close()
        return time.perf_counter() - begun


def beside_a_stuck_worker(server: Server) -> Figures:
    """four workers of one thread, one in a call of 100 s; 1,000 requests on 50 kept connections"""
    flags = "--threads 1 --timeout 0 --graceful-timeout 1"
    four = with_flags(replace(server, command=server.command.replace("{workers}", "4")), flags)
    with Running(four, plain("hundred"), SERVER_CORE) as running, ExitStack() as stack:
        samplers = [stack.enter_context(Sampler(running.port)) for _ in range(50)]
        for sampler in samplers:
            sampler.ask()
        stuck = stack.enter_context(Sampler(running.port))
        stuck.send("/stuck")
        time.sleep(0.5)
        times, waiting = [], []
        for sampler in samplers:
            sampler.socket.settimeout(0.5)
            try:
                times.append(sampler.ask())
            except TimeoutError:
                waiting.append(sampler)
        served = [sampler for sampler in samplers if sampler not in waiting]
        for turn in range(1000):
            times.append(served[turn % len(served)].ask())
        fresh = []
        for _ in range(100):
            with Sampler(running.port) as sampler:
                fresh.append(sampler.ask())
    return {
        "kept: max ms": max(times),
        "kept: p50 ms": percentile(times, 0.5),
        "behind the stuck one": len(waiting),
        "new: max ms": max(fresh),
    }


SITUATIONS: dict[str, tuple[Callable[[Server], Figures], str]] = {
    "compute": (compute_beside_waits, "lockgate,granian,gunicorn-gthread-t32"),
    "instant": (instant_in_mixed, "lockgate,granian-t32"),
    "idle": (idle_connections, "lockgate,bjoern"),
    "silent": (silent_connections, "lockgate"),
    "cold": (cold_start, "lockgate,bjoern,fastpysgi,granian,uwsgi,gunicorn-gthread,waitress"),
    "upload": (upload, "lockgate,uwsgi,granian"),
    "stuck": (beside_a_stuck_worker, "lockgate"),
}


def main() -> int:
    about = "\n".join(f"  {name:8} {what.__doc__}" for name, (what, _) in SITUATIONS.items())
    parser = argparse.ArgumentParser(
        description=f"The situations:\n{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("situations", nargs="*", metavar="SITUATION")
    parser.add_argument("-S", "--servers", help="instead of the situation's own")
    parser.add_argument("-r", "--rounds", type=int, default=3)
    options = parser.parse_args()
    if unknown := set(options.situations) - set(SITUATIONS):
        parser.error(f"no situation is called {', '.join(sorted(unknown))}")
    allow_many_files()
    installed = peers.set_up()
    os.sched_setaffinity(0, {CLIENT_CORE})
    for name in options.situations or SITUATIONS:
        situation, usual = SITUATIONS[name]
        print(f"{name}: {situation.__doc__}", flush=True)
        for server in choose_servers((options.servers or usual).split(",")):
            if reason := installed.why_not(server):
                print(f"  {server.name}: skipped: {reason}")
                continue
            print(f"  {server.name}: {measured(situation, server, options.rounds)}", flush=True)
    return 0


def measured(situation: Callable[[Server], Figures], server: Server, rounds: int) -> str:
    try:
        results = [situation(server) for _ in range(rounds)]
    except (DidNotServe, load.LoadFailed, OSError) as error:
        return f"failed: {error}"
    return ", ".join(
        f"{name} {statistics.median(values):.2f} ({min(values):.2f}..{max(values):.2f})"
        for name in results[0]
        for values in [[result[name] for result in results]]
    )


def allow_many_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 30_000), hard))


if __name__ == "__main__":
    sys.exit(main())
