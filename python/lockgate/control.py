"""`lockgate ctl` and `lockgate top`: what an operator asks of a running server.

Reading goes through the admin listener (setting `admin_bind`). Acting goes by signals to the
process that `/status` names, so that the system decides who may: nothing is changed over HTTP.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

#: Where the server is asked when no flag says so; the same variable sets `admin_bind`.
VARIABLE = "LOCKGATE_ADMIN_BIND"
ANSWER_SECONDS = 5.0

ACTIONS = {
    "reload": (signal.SIGHUP, "asked to reload"),
    "reopen": (signal.SIGUSR1, "asked to open its log files anew"),
    "shutdown": (signal.SIGTERM, "asked to finish its requests and stop"),
}
MORE, FEWER = signal.SIGTTIN, signal.SIGTTOU

#: Moves to the first column of the first line and clears what is below.
CLEAR_SCREEN = "\x1b[H\x1b[J"


class Unreachable(Exception):
    """The text says which address was asked, why it did not answer and what to do."""


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments[1:])
    address = options.admin or os.environ.get(VARIABLE, "")
    try:
        if not address:
            raise Unreachable(
                "no admin listener is named: start the server with --admin-bind "
                f"unix:/run/lockgate/admin.sock, and name the same here with --admin or {VARIABLE}"
            )
        if options.command == "top":
            return top(address, options.once, options.interval)
        return control(address, options)
    except Unreachable as problem:
        print(f"lockgate: {problem}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read has enough. Python would complain of it again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    main_parser = argparse.ArgumentParser(
        prog="lockgate", description="Asks a running server, or has it do something."
    )
    commands = main_parser.add_subparsers(dest="command", required=True)
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument(
        "--admin",
        metavar="ADDRESS",
        help=f"the server's admin_bind, as unix:/run/lockgate/admin.sock; else {VARIABLE}",
    )
    ctl = commands.add_parser(
        "ctl", parents=[where], help="one question or one action", description="One at a time."
    )
    verbs = ctl.add_subparsers(dest="verb", required=True, metavar="WHAT")
    verbs.add_parser("status", help="everything that the server tells of itself, as JSON")
    verbs.add_parser("requests", help="the requests that run now, the oldest first")
    verbs.add_parser("metrics", help="the metrics as Prometheus reads them")
    verbs.add_parser("reload", help="replace the workers (SIGHUP)")
    verbs.add_parser("reopen", help="open log files anew (SIGUSR1)")
    verbs.add_parser("shutdown", help="finish what runs and stop (SIGTERM)")
    workers = verbs.add_parser("workers", help="more or fewer workers (SIGTTIN, SIGTTOU)")
    workers.add_argument("change", type=change, metavar="+N|-N", help="as in +1 or -1")
    watch = commands.add_parser(
        "top",
        parents=[where],
        help="a live view",
        description="Workers, and the requests that they run, the oldest first.",
    )
    watch.add_argument("--once", action="store_true", help="print it once, and stop")
    watch.add_argument("--interval", type=float, default=1.0, metavar="SECONDS", help="default: 1")
    return main_parser


def change(text: str) -> int:
    if text[:1] not in "+-" or not text[1:].isdecimal() or not 1 <= int(text[1:]) <= 256:
        raise argparse.ArgumentTypeError(f"must be +N or -N with N from 1 to 256, not {text}")
    return int(text)


def control(address: str, options: argparse.Namespace) -> int:
    if options.verb == "metrics":
        sys.stdout.write(ask(address, "/metrics").decode())
        return 0
    status = read_status(address)
    if options.verb == "status":
        print(json.dumps(status, indent=2))
    elif options.verb == "requests":
        for line in request_lines(status):
            print(line)
    elif options.verb == "workers":
        number = MORE if options.change > 0 else FEWER
        times = abs(options.change)
        for count in range(times):
            # Equal signals that arrive together are one to the kernel.
            if count:
                time.sleep(0.1)
            send(status, number)
        word = "more" if options.change > 0 else "fewer"
        print(f"pid {status['pid']}: asked for {times} {word} worker{'s' * (times > 1)}")
    else:
        number, said = ACTIONS[options.verb]
        send(status, number)
        print(f"pid {status['pid']}: {said}")
    return 0


def send(status: Any, number: int) -> None:
    pid = status["pid"]
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        raise Unreachable(
            f"there is no process {pid} here: run this on the server's machine, in its container"
        ) from None
    except PermissionError:
        raise Unreachable(
            f"not allowed to signal process {pid}: run this as its user, or as root"
        ) from None


def read_status(address: str) -> Any:
    text = ask(address, "/status")
    try:
        status = json.loads(text)
        if status["name"] == "lockgate":
            return status
    except (ValueError, KeyError, TypeError):
        pass
    raise Unreachable(f"what answers at {address} is not Lockgate's admin listener")


def ask(address: str, path: str) -> bytes:
    connection = Connection(address)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"no answer at {address}: {error}{advice(error)}") from None
    finally:
        connection.close()
    if answer.status != 200:
        raise Unreachable(
            f"{address} answered {answer.status} to {path}: is it the admin_bind of the server?"
        )
    return text


def advice(error: Exception) -> str:
    if isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
        return "; does the server run, with this address as its admin_bind?"
    if isinstance(error, PermissionError):
        return "; the socket belongs to the server's user and group"
    return ""


class Connection(http.client.HTTPConnection):
    """HTTP to an address as `admin_bind` has it."""

    def __init__(self, address: str) -> None:
        self.address = address
        super().__init__("localhost", timeout=ANSWER_SECONDS)

    def connect(self) -> None:
        if self.address.startswith("unix:") or self.address.startswith("unix-abstract:"):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(ANSWER_SECONDS)
            self.sock.connect(unix_name(self.address))
        else:
            self.sock = socket.create_connection(tcp_address(self.address), ANSWER_SECONDS)


def unix_name(address: str) -> str:
    if address.startswith("unix://"):
        return address[len("unix://") :]
    for prefix in ("unix:@", "unix-abstract:"):
        if address.startswith(prefix):
            return "\0" + address[len(prefix) :]
    return address[len("unix:") :]


def tcp_address(address: str) -> tuple[str, int]:
    for scheme in ("tcp://", "http://"):
        address = address.removeprefix(scheme)
    host, _, port = address.rstrip("/").rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise Unreachable(
            f"{address} is no address: write unix:/run/lockgate/admin.sock or 127.0.0.1:9000"
        )
    return host.strip("[]"), int(port)


def request_lines(status: Any) -> list[str]:
    """A line for each request that runs, the oldest first."""
    rows = [
        (request["age"], worker, request)
        for worker in status["workers"]
        for request in worker["running"]
    ]
    rows.sort(key=lambda row: -row[0])
    if not rows:
        return ["no request is running"]
    lines = [f"{'AGE':>9}  {'WORKER':>6} {'PID':>7} {'THREAD':>7}  {'CLIENT':<15} REQUEST"]
    for age, worker, request in rows:
        target = printable(request["target"]) + ("…" if request["target_is_cut"] else "")
        lines.append(
            f"{age:>8.2f}s  {worker['slot']:>6} {worker['pid']:>7} {request['thread']:>7}  "
            f"{printable(request['client']) or '-':<15} {printable(request['method'])} {target}"
        )
    return lines


def printable(text: str) -> str:
    """Clients choose these texts, and a terminal obeys what it is sent."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def top(address: str, once: bool, interval: float) -> int:
    before = None
    while True:
        status = read_status(address)
        lines = top_lines(status, before)
        if once:
            print("\n".join(lines))
            return 0
        show(sys.stdout, lines)
        before = status
        time.sleep(max(interval, 0.1))


def show(stream: TextIO, lines: list[str]) -> None:
    columns, rows = 80, 24
    if stream.isatty():
        columns, rows = os.get_terminal_size(stream.fileno())
    stream.write(CLEAR_SCREEN + "\n".join(line[:columns] for line in lines[: rows - 1]) + "\n")
    stream.flush()


def top_lines(status: Any, before: Any) -> list[str]:
    """What `top` shows. Rates are those since `before`, or since the start."""
    seconds = status["uptime"] - (before["uptime"] if before else 0)
    lost = sum(status["lost"].values())
    lines = [
        f"lockgate {status['version']}  pid {status['pid']}  up {age(status['uptime'])}  "
        f"{rate(status, before, seconds)}  5xx {status['responses']['5xx']}  lost {lost}",
        "",
        f"{'WORKER':>6} {'PID':>7} {'STATE':<9}{'UP':>9} {'CONNS':>6} {'WAITING':>8} "
        f"{'BUSY':>9} {'RATE':>9}",
    ]
    known = {worker["slot"]: worker for worker in before["workers"]} if before else {}
    for worker in status["workers"]:
        busy = f"{worker['threads_busy']}/{worker['threads']}"
        lines.append(
            f"{worker['slot']:>6} {worker['pid']:>7} {worker['state']:<9}"
            f"{age(worker['uptime']):>9} {worker['connections']:>6} "
            f"{worker['requests_waiting']:>8} {busy:>9} "
            f"{rate(worker, known.get(worker['slot']), seconds):>9}"
        )
    return [*lines, "", *request_lines(status)]


def rate(now: Any, before: Any, seconds: float) -> str:
    answered = sum(now["responses"].values()) - (sum(before["responses"].values()) if before else 0)
    return f"{answered / seconds if seconds > 0 else 0:.1f}/s"


def age(seconds: float) -> str:
    whole = int(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}"
