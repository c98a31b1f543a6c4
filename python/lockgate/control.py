"""`lockgate ctl` and `lockgate top`: commands for a running server.

Both use the admin listener (setting `admin_bind`), which checks the user of this process before an
action. No process is signalled from here, because the pid in an answer is not to be trusted.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from lockgate._lockgate import admin_address
from lockgate.admin_client import (
    Gone,
    Unreachable,
    act,
    ask,
    printable,
    publish,
    purge,
    read_object,
    read_status,
)
from lockgate.certificates import certificate_lines
from lockgate.limits import limit_lines
from lockgate.reload import reload_and_wait
from lockgate.stacks import all_lines, read_stacks
from lockgate.top import request_lines, top

#: The admin address when no flag names one; the same variable sets `admin_bind`.
VARIABLE = "LOCKGATE_ADMIN_BIND"

ACTIONS = {
    "reload": "asked to reload",
    "reopen": "asked to reopen its log files",
    "upgrade": "asked to upgrade in place to the installed version",
    "shutdown": "asked to finish its requests and stop",
}


def main(arguments: Sequence[str]) -> int:
    commands = parser()
    options = commands.parse_args(arguments[1:])
    if getattr(options, "timeout", None) is not None and not options.wait:
        commands.error("--timeout needs --wait")
    if getattr(options, "verb", None) == "purge" and not (
        options.urls or options.tag or options.all
    ):
        commands.error("purge needs a URL, --tag TAG or --all")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names and targets are untrusted; characters that the terminal cannot encode are escaped.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        address = options.admin or configured_address()
        if options.command == "top":
            # Python leaves a signal ignored that was ignored at its start, as after `nohup` or in a
            # background job of a script.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            return top(address, options.once, options.interval, options.stacks)
        return control(address, options)
    except Unreachable as problem:
        print(f"lockgate: {problem}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader has closed the pipe. Without this, Python would report that again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def configured_address() -> str:
    try:
        address = admin_address()
    except ValueError as mistakes:
        raise Unreachable(f"{mistakes}; or name the server's admin_bind with --admin") from None
    if address is None:
        raise Unreachable(
            "no address of an admin listener: start the server with --admin-bind "
            "unix:/run/lockgate/admin.sock, and give the same address here with --admin, in "
            f"{VARIABLE}, or as admin_bind in lockgate.toml"
        )
    if address.startswith("systemd"):
        raise Unreachable(
            f"admin_bind = {address}: only systemd knows the address; give that of the "
            "socket unit (ListenStream=) with --admin"
        )
    return address


def parser() -> argparse.ArgumentParser:
    main_parser = argparse.ArgumentParser(
        prog="lockgate", description="Commands for a running server."
    )
    commands = main_parser.add_subparsers(dest="command", required=True)
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument(
        "--admin",
        metavar="ADDRESS",
        default=argparse.SUPPRESS,
        help="the server's admin_bind, such as unix:/run/lockgate/admin.sock; default: that of "
        f"lockgate.toml in the working directory, or {VARIABLE}",
    )
    main_parser.set_defaults(admin=None)
    ctl = commands.add_parser(
        "ctl", parents=[where], help="run one command", description="Runs one command."
    )
    verbs = ctl.add_subparsers(dest="verb", required=True, metavar="WHAT")
    verbs.add_parser("status", parents=[where], help="show the status of the server as JSON")
    verbs.add_parser(
        "requests", parents=[where], help="list the running requests, the oldest first"
    )
    verbs.add_parser(
        "metrics", parents=[where], help="show the metrics in the format of Prometheus"
    )
    certificates = verbs.add_parser(
        "certificates", parents=[where], help="list the certificates that the server presents"
    )
    certificates.add_argument("--json", action="store_true", help="as JSON")
    limits = verbs.add_parser(
        "limits",
        parents=[where],
        help="show what the rate limits have refused, and whom most often",
    )
    limits.add_argument("--json", action="store_true", help="as JSON")
    verbs.add_parser("stacks", parents=[where], help="show the stacks of all threads")
    reload = verbs.add_parser("reload", parents=[where], help="replace the workers")
    reload.add_argument(
        "--wait", action="store_true", help="show the progress; exit code 0: the new workers serve"
    )
    reload.add_argument(
        "--timeout", type=duration, metavar="SECONDS", help="with --wait: the longest time to wait"
    )
    verbs.add_parser("upgrade", parents=[where], help="upgrade in place to the installed version")
    verbs.add_parser("reopen", parents=[where], help="reopen log files")
    verbs.add_parser("shutdown", parents=[where], help="finish the running requests and stop")
    workers = verbs.add_parser("workers", parents=[where], help="start or stop workers")
    workers.add_argument("change", type=change, metavar="+N|-N", help="such as +1 or -1")
    maintenance = verbs.add_parser(
        "maintenance", parents=[where], help="answer 503 to all clients but those that are allowed"
    )
    maintenance.add_argument(
        "state", choices=["on", "off", "auto"], help="auto: what the settings say"
    )
    message = verbs.add_parser(
        "publish",
        parents=[where],
        help="publish a message to the held connections of a channel",
    )
    message.add_argument("channel", metavar="CHANNEL")
    message.add_argument("content", metavar="CONTENT", help="text; - reads standard input")
    message.add_argument("--id", metavar="ID", help="id of the message, and of the event")
    message.add_argument("--event", metavar="NAME", help="name of the event in an event stream")
    purge = verbs.add_parser(
        "purge",
        parents=[where],
        help="remove responses from the cache",
        description="Removes responses from the cache, by their URLs, by their tags, or all.",
    )
    purge.add_argument("urls", nargs="*", metavar="URL", help="such as https://shop.example/news")
    purge.add_argument(
        "--tag", action="append", default=[], metavar="TAG", help="may be given several times"
    )
    purge.add_argument("--all", action="store_true", help="remove every response")
    watch = commands.add_parser(
        "top",
        parents=[where],
        help="show a live view",
        description="Shows workers and their running requests, the oldest first.",
    )
    watch.add_argument("--stacks", action="store_true", help="show whole stacks of the requests")
    watch.add_argument("--once", action="store_true", help="print the view once and exit")
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
        return reload_and_wait(address, lambda: perform(address, "reload"), options.timeout)
    if options.verb == "status":
        print(json.dumps(read_status(address), indent=2))
    elif options.verb == "requests":
        for line in request_lines(read_status(address)):
            print(line)
    elif options.verb == "certificates":
        status = read_status(address)
        if options.json:
            found = {name: status[name] for name in ("certificates", "renewals")}
            print(json.dumps(found, indent=2))
        else:
            print("\n".join(certificate_lines(status)))
    elif options.verb == "limits":
        found = read_object(address, "/limits")
        print(json.dumps(found, indent=2) if options.json else "\n".join(limit_lines(found)))
    elif options.verb == "workers":
        receipt = act(address, f"workers?change={options.change}")
        word = "more" if options.change > 0 else "fewer"
        times = abs(options.change)
        report(receipt, f"asked for {times} {word} worker{'s' * (times > 1)}")
    elif options.verb == "maintenance":
        receipt = act(address, f"maintenance?state={options.state}")
        report(receipt, f"maintenance is {options.state}")
    elif options.verb == "publish":
        publish_message(address, options)
    elif options.verb == "purge":
        count = purge(address, options.urls, options.tag, options.all)
        print(f"removed {count} {'entry' if count == 1 else 'entries'} from the cache")
    elif options.verb == "shutdown":
        shut_down(address)
    else:
        perform(address, options.verb)
    return 0


def publish_message(address: str, options: argparse.Namespace) -> None:
    content = sys.stdin.read() if options.content == "-" else options.content
    item = {"channel": options.channel, "content": content}
    for name in ("id", "event"):
        value = getattr(options, name)
        if value is not None:
            item[name] = value
    publish(address, item)
    print(f"published to {printable(options.channel)}")


def perform(address: str, verb: str) -> None:
    report(act(address, verb), ACTIONS[verb])


def shut_down(address: str) -> None:
    """A server without running requests may exit before it answers."""
    pid = read_status(address)["pid"]
    try:
        perform(address, "shutdown")
    except Gone:
        raise
    except Unreachable as problem:
        try:
            read_status(address)
        except Gone:
            report({"pid": pid}, "has stopped")
        except Unreachable:
            raise problem from None
        else:
            raise


def report(receipt: Any, outcome: str) -> None:
    print(f"pid {printable(str(receipt['pid']))}: {outcome}", flush=True)
