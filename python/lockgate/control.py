"""`lockgate ctl` and `lockgate top`: what an operator asks of a running server.

Reading goes through the admin listener (setting `admin_bind`). Acting goes by signals to the
process that `/status` names, so that the system decides who may: nothing is changed over HTTP.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

from lockgate.admin_client import Unreachable, ask, read_status
from lockgate.reload import reload_and_wait
from lockgate.stacks import all_lines, read_stacks
from lockgate.top import request_lines, top

#: Where the server is asked when no flag says so; the same variable sets `admin_bind`.
VARIABLE = "LOCKGATE_ADMIN_BIND"

ACTIONS = {
    "reload": (signal.SIGHUP, "asked to reload"),
    "reopen": (signal.SIGUSR1, "asked to open its log files anew"),
    "upgrade": (signal.SIGUSR2, "asked to go on in place as the version that is installed now"),
    "shutdown": (signal.SIGTERM, "asked to finish its requests and stop"),
}
MORE, FEWER = signal.SIGTTIN, signal.SIGTTOU


def main(arguments: Sequence[str]) -> int:
    commands = parser()
    options = commands.parse_args(arguments[1:])
    if getattr(options, "timeout", None) is not None and not options.wait:
        commands.error("--timeout goes with --wait")
    address = options.admin or os.environ.get(VARIABLE, "")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names and targets come from elsewhere; a terminal that cannot show one shows its number.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        if not address:
            raise Unreachable(
                "no admin listener is named: start the server with --admin-bind "
                f"unix:/run/lockgate/admin.sock, and name the same here with --admin or {VARIABLE}"
            )
        if options.command == "top":
            return top(address, options.once, options.interval, options.stacks)
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
    verbs.add_parser("stacks", help="where every thread stands in its code")
    reload = verbs.add_parser("reload", help="replace the workers (SIGHUP)")
    reload.add_argument(
        "--wait", action="store_true", help="show how it goes; 0 when the new workers serve, else 1"
    )
    reload.add_argument(
        "--timeout", type=duration, metavar="SECONDS", help="with --wait: wait for so long at most"
    )
    verbs.add_parser("upgrade", help="go on as the installed version, in place (SIGUSR2)")
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
    watch.add_argument("--stacks", action="store_true", help="whole stacks of the requests")
    watch.add_argument("--once", action="store_true", help="print it once, and stop")
    watch.add_argument(
        "--interval", type=duration, default=1.0, metavar="SECONDS", help="default: 1"
    )
    return main_parser


def duration(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, not {text}")
    return seconds


def change(text: str) -> int:
    if text[:1] not in "+-" or not text[1:].isdecimal() or not 1 <= int(text[1:]) <= 256:
        raise argparse.ArgumentTypeError(f"must be +N or -N with N from 1 to 256, not {text}")
    return int(text)


def control(address: str, options: argparse.Namespace) -> int:
    if options.verb == "metrics":
        sys.stdout.write(ask(address, "/metrics").decode())
        return 0
    if options.verb == "stacks":
        for line in all_lines(read_stacks(address)):
            print(line)
        return 0
    if options.verb == "reload" and options.wait:
        return reload_and_wait(address, lambda status: act(status, "reload"), options.timeout)
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
        act(status, options.verb)
    return 0


def act(status: Any, verb: str) -> None:
    number, said = ACTIONS[verb]
    send(status, number)
    print(f"pid {status['pid']}: {said}", flush=True)


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
