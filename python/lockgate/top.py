"""`lockgate top`: a live view of workers and running requests."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

from lockgate.admin_client import Refused, printable, read_status
from lockgate.admin_command import EXIT_CODES, duration, run, where
from lockgate.arguments import Parser
from lockgate.stacks import places, read_stacks, request_stacks, shown_request

#: Moves the cursor to the top left and clears the screen below.
CLEAR_SCREEN = "\x1b[H\x1b[J"
#: Width of the column that shows where a request is.
PLACE_WIDTH = 32


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    # Python leaves a signal ignored that was ignored at its start, as after `nohup` or in a
    # background job of a script.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return run(
        options.admin,
        lambda address: top(address, options.once, options.interval, options.stacks),
    )


def parser() -> Parser:
    parser = Parser(
        "lockgate top",
        """Shows the workers of a running server and their running requests, the oldest first,
        through its admin listener (setting admin_bind). Ctrl-C ends it.""",
        parents=[where()],
        examples={
            "lockgate top": "a view that is renewed every second",
            "lockgate top --stacks": "where each request is in the code",
            "lockgate top --once --admin 127.0.0.1:9000": "for a script, of another server",
        },
        exit_codes=EXIT_CODES,
    )
    parser.set_defaults(admin=None)
    parser.add_argument("--stacks", action="store_true", help="show whole stacks of the requests")
    parser.add_argument("--once", action="store_true", help="print the view once and exit")
    parser.add_argument(
        "--interval",
        type=duration,
        default=1.0,
        metavar="SECONDS",
        help="time between two views",
    )
    return parser


def top(address: str, once: bool, interval: float, with_stacks: bool) -> int:
    before = None
    while True:
        status = read_status(address)
        lines = top_lines(status, before, running_lines(address, status, with_stacks))
        if once:
            print("\n".join(lines))
            return 0
        show(sys.stdout, lines)
        before = status
        time.sleep(max(interval, 0.1))


def running_lines(address: str, status: Any, with_stacks: bool) -> list[str]:
    if with_stacks:
        return list(request_stacks(read_stacks(address)))
    if not any(worker["running"] for worker in status["workers"]):
        return request_lines(status)
    try:
        return request_lines(status, places(read_stacks(address)))
    except Refused:
        # Unsupported on this system, or other clients dump stacks all the time: show the rest.
        return request_lines(status)


def request_lines(status: Any, at: dict[tuple[int, int], str] | None = None) -> list[str]:
    """A line for each running request, the oldest first, and WebSockets after all others.

    With `at`, also its innermost frame.
    """
    rows = [
        (request["age"], worker, request)
        for worker in status["workers"]
        for request in worker["running"]
    ]
    rows.sort(key=lambda row: (row[2]["websocket"], -row[0]))
    if not rows:
        return ["no request is running"]
    head = f"{'AGE':>9}  {'WORKER':>6} {'PID':>7} {'THREAD':>7}  {'CLIENT':<15} "
    lines = [head + ("" if at is None else f"{'AT':<{PLACE_WIDTH}} ") + "REQUEST"]
    for age, worker, request in rows:
        line = (
            f"{age:>8.2f}s  {worker['slot']:>6} {worker['pid']:>7} {request['thread']:>7}  "
            f"{printable(request['client']) or '-':<15} "
        )
        if at is not None:
            place = at.get((worker["pid"], request["thread"]), "-")
            line += f"{place[:PLACE_WIDTH]:<{PLACE_WIDTH}} "
        lines.append(line + shown_request(request))
    return lines


def show(stream: TextIO, lines: list[str]) -> None:
    columns, rows = 80, 24
    if stream.isatty():
        size = os.get_terminal_size(stream.fileno())
        # A terminal without a known size reports 0: serial lines, and some containers.
        columns, rows = size.columns or columns, size.lines or rows
    stream.write(CLEAR_SCREEN + "\n".join(line[:columns] for line in lines[: rows - 1]) + "\n")
    stream.flush()


def top_lines(status: Any, before: Any, running: list[str]) -> list[str]:
    """All lines of the view. Rates are since `before`, or since the start."""
    seconds = status["uptime"] - (before["uptime"] if before else 0)
    lost = sum(status["lost"].values())
    lines = [
        f"lockgate {status['version']}  pid {status['pid']}  up {age(status['uptime'])}  "
        f"{rate(status, before, seconds)}  5xx {status['responses']['5xx']}  lost {lost}",
        "",
        f"{'WORKER':>6} {'PID':>7} {'STATE':<9}{'UP':>9} {'CONNS':>6} {'WAITING':>8} "
        f"{'BUSY':>9} {'WS':>5} {'RATE':>9}",
    ]
    known = {worker["slot"]: worker for worker in before["workers"]} if before else {}
    for worker in status["workers"]:
        busy = f"{worker['threads_busy']}/{worker['threads']}"
        lines.append(
            f"{worker['slot']:>6} {worker['pid']:>7} {worker['state']:<9}"
            f"{age(worker['uptime']):>9} {worker['connections']:>6} "
            f"{worker['requests_waiting']:>8} {busy:>9} {worker['websockets']:>5} "
            f"{rate(worker, known.get(worker['slot']), seconds):>9}"
        )
    return [*lines, "", *running]


def rate(now: Any, before: Any, seconds: float) -> str:
    answered = sum(now["responses"].values()) - (sum(before["responses"].values()) if before else 0)
    return f"{answered / seconds if seconds > 0 else 0:.1f}/s"


def age(seconds: float) -> str:
    whole = int(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}"
