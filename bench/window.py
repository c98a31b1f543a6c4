"""What the operator's window costs the workers: `.venv/bin/python bench/window.py`.

Two servers with one worker each take turns on one core, all under the same load: one without an
admin listener and one with it, whose page is closed and open in turns (its documents are read as
often as the page reads them). Two processes of the same server differ by up to 3 %, so only the
last comparison, within one process, is exact. CPU a request is that of the worker alone; that of
the admin process, which does the rest, is shown beside it.
"""

from __future__ import annotations

import argparse
import http.client
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median

import load
import machine
import peers
from catalogue import Scenario, choose_servers
from process import TICKS, Running, free_port, process_stat, process_tree

READ_SECONDS = 1.0


class Window:
    """A page that is open: reads its documents until it is closed."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.closed = threading.Event()
        self.bytes = 0
        self.thread = threading.Thread(target=self._read)

    def __enter__(self) -> Window:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closed.set()
        self.thread.join()

    def _read(self) -> None:
        since = time.time() - 900
        while not self.closed.is_set():
            for path in ("/now", f"/history?from={since:.0f}&step=5"):
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
                connection.request("GET", path)
                answer = connection.getresponse()
                self.bytes += len(answer.read())
                assert answer.status == 200, f"{path}: {answer.status}"
                connection.close()
            self.closed.wait(READ_SECONDS)


def process_named(pid: int, ending: str) -> int | None:
    for each in process_tree(pid):
        if Path(f"/proc/{each}/comm").read_text().strip().endswith(ending):
            return each
    return None


def seconds(pid: int | None) -> float:
    fields = process_stat(pid) if pid else None
    return sum(map(int, fields[11:13])) / TICKS if fields else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("-r", "--rounds", type=int, default=9)
    parser.add_argument("-d", "--duration", type=int, default=4, help="seconds a round")
    parser.add_argument("--app", default="apps:hello")
    options = parser.parse_args()
    peers.set_up()
    first, *_, last = machine.cores()
    scenario = Scenario("window", "", options.app)
    (server,) = choose_servers(["lockgate"])
    # Beside the ports of the servers, which are chosen later.
    admin_port = free_port() + 500
    with ExitStack() as stack:
        running = {}
        for name, flags in (("without", ""), ("closed", f" --admin-bind 127.0.0.1:{admin_port}")):
            variant = replace(server, name=f"window-{name}", command=server.command + flags)
            running[name] = stack.enter_context(Running(variant, scenario, first))
        running["open"] = running["closed"]
        rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in running}
        for turn in range(options.rounds):
            for name in list(running)[:: 1 if turn % 2 == 0 else -1]:
                it = running[name]
                worker = process_named(it.process.pid, "-w0")
                admin = process_named(it.process.pid, "-admin")
                command = load.wrk_command(scenario, it.port, options.duration, 64, last)
                with ExitStack() as page:
                    if name == "open":
                        page.enter_context(Window(admin_port))
                    used, admin_used = seconds(worker), seconds(admin)
                    done = load.run(command, options.duration)
                    used, admin_used = seconds(worker) - used, seconds(admin) - admin_used
                cost = used / done.requests * 1e6
                rows[name].append((cost, done.rate, admin_used / options.duration * 100))
    print("| admin listener | CPU a request (µs) | requests/s | admin process (% of a core) |")
    print("|---|--:|--:|--:|")
    for name, figures in rows.items():
        cost, rate, share = (median(column) for column in zip(*figures, strict=True))
        print(f"| {name} | {cost:.2f} | {rate:.0f} | {share:.1f} |")
    for name, base in (("closed", "without"), ("open", "closed")):
        pairs = zip(rows[name], rows[base], strict=True)
        differences = [(one[0] / other[0] - 1) * 100 for one, other in pairs]
        print(f"{name} beside {base}: {median(differences):+.2f} % CPU a request (paired median)")


if __name__ == "__main__":
    main()
