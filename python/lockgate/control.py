"""`lockgate ctl`: commands for a running server.

They use the admin listener (setting `admin_bind`), which checks the user of this process before an
action. No process is signalled from here, because the pid in an answer is not to be trusted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

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
from lockgate.admin_command import EXIT_CODES, duration, run, where
from lockgate.arguments import Parser
from lockgate.certificates import certificate_lines
from lockgate.events import show_events
from lockgate.limits import limit_lines
from lockgate.profiling import add_arguments, profile
from lockgate.progress import waiting
from lockgate.reload import reload_and_wait
from lockgate.stacks import all_lines, read_stacks
from lockgate.top import request_lines

ACTIONS = {
    "reload": "asked to reload",
    "reopen": "asked to reopen its log files",
    "upgrade": "asked to upgrade in place to the installed version",
    "shutdown": "asked to finish its requests and stop",
}

DESCRIPTION = """\
Runs one command for a running server, through its admin listener (setting admin_bind).

The address is --admin, else LOCKGATE_ADMIN_BIND, else admin_bind of lockgate.toml in the working
directory. Actions need the user of the server, or root."""


def main(arguments: Sequence[str]) -> int:
    commands = parser()
    options = commands.parse_args(arguments)
    verb = commands.subcommand(options)
    if getattr(options, "timeout", None) is not None and not options.wait:
        verb.error("--timeout needs --wait")
    if options.verb == "purge" and not (options.urls or options.tag or options.all):
        verb.error("a URL, --tag TAG or --all is missing")
    # These print while they wait, or show their own progress.
    is_silent = options.verb in ("profile", "events") or (options.verb == "reload" and options.wait)

    def command(address: str) -> int:
        with nullcontext() if is_silent else waiting(f"waiting for an answer at {address}"):
            return control(address, options)

    return run(options.admin, command)


def parser() -> Parser:
    ctl = Parser(
        "lockgate ctl",
        DESCRIPTION,
        parents=[where()],
        examples={
            "lockgate ctl status": "what the server is doing, as JSON",
            "lockgate ctl reload --wait": "new code; exit code 0 once the new workers serve",
            "lockgate ctl --admin unix:/run/shop/admin.sock requests": "the running requests",
            "lockgate ctl workers +1": "one more worker",
        },
        exit_codes=EXIT_CODES,
    )
    ctl.set_defaults(admin=None)
    verbs = ctl.add_subparsers(dest="verb", required=True, metavar="COMMAND", title="commands")

    def verb(name: str, help: str, examples: dict[str, str], description: str = "") -> Parser:
        return verbs.add_parser(
            name,
            parents=[where()],
            help=help,
            description=description or f"{help[0].upper()}{help[1:]}.",
            examples={f"lockgate ctl {line}": effect for line, effect in examples.items()},
            exit_codes=EXIT_CODES,
        )

    verb(
        "status",
        "show the status of the server as JSON",
        {"status": "", "status | jq .workers[].pid": "one field of it"},
    )
    verb("requests", "list the running requests, the oldest first", {"requests": ""})
    verb("metrics", "show the metrics in the format of Prometheus", {"metrics": ""})
    certificates = verb(
        "certificates",
        "list the certificates that the server presents",
        {"certificates": "names, dates and renewals", "certificates --json": "for a program"},
    )
    certificates.add_argument("--json", action="store_true", help="as JSON")
    limits = verb(
        "limits",
        "show what the rate limits have refused, and whom most often",
        {"limits": "", "limits --json": "for a program"},
    )
    limits.add_argument("--json", action="store_true", help="as JSON")
    events = verb(
        "events",
        "show what has happened to the server",
        {
            "events": "reloads, deaths of workers, warnings, since the start",
            "events --follow": "and what happens from now on",
            "events --json | jq .text": "for a program: an object on each line",
        },
    )
    events.add_argument("--follow", action="store_true", help="wait for further events")
    events.add_argument("--json", action="store_true", help="as JSON, an event on each line")
    verb(
        "stacks",
        "show the stacks of all threads",
        {"stacks": "", "stacks | less": "where a server hangs"},
    )
    profiled = verb(
        "profile",
        "show where requests spend their time",
        {
            "profile": "of the next ten seconds, as a table",
            "profile -o shop.svg": "as a flame graph, for a browser",
            "profile --seconds 60 --rate 20 -o shop.json": "for www.speedscope.app",
        },
        "Samples the threads of all workers, and shows the requests and lines of code in which "
        "they spend their time, and what they wait for.",
    )
    add_arguments(profiled)
    reload = verb(
        "reload",
        "replace the workers",
        {
            "reload": "new code and settings, without a lost request",
            "reload --wait --timeout 60": "for a deploy: fails if the new workers do not serve",
        },
    )
    reload.add_argument(
        "--wait", action="store_true", help="show the progress; exit code 0: the new workers serve"
    )
    reload.add_argument(
        "--timeout", type=duration, metavar="SECONDS", help="with --wait: the longest time to wait"
    )
    verb(
        "upgrade",
        "upgrade in place to the installed version",
        {"upgrade": "after pip install --upgrade lockgate"},
    )
    verb("reopen", "reopen log files", {"reopen": "after logrotate has renamed them"})
    verb("shutdown", "finish the running requests and stop", {"shutdown": ""})
    workers = verb(
        "workers",
        "start or stop workers",
        {"workers +2": "two more", "workers -1": "one fewer"},
    )
    workers.add_argument("change", type=change, metavar="+N|-N", help="such as +1 or -1")
    maintenance = verb(
        "maintenance",
        "answer 503 to all clients but those that are allowed",
        {"maintenance on": "", "maintenance auto": "what the settings say"},
    )
    maintenance.add_argument(
        "state",
        metavar="STATE",
        choices=["on", "off", "auto"],
        help="on, off, or auto: what the settings say",
    )
    message = verb(
        "publish",
        "publish a message to the held connections of a channel",
        {
            "publish news 'It rains.'": "",
            "publish news - --event weather < report.txt": "from a file, as a named event",
        },
    )
    message.add_argument("channel", metavar="CHANNEL", help="its name")
    message.add_argument("content", metavar="CONTENT", help="text; - reads standard input")
    message.add_argument("--id", metavar="ID", help="id of the message, and of the event")
    message.add_argument("--event", metavar="NAME", help="name of the event in an event stream")
    purge = verb(
        "purge",
        "remove responses from the cache",
        {
            "purge https://shop.example/news": "all responses of this URL",
            "purge --tag article-7 --tag index": "those with one of these tags",
            "purge --all": "",
        },
        "Removes responses from the cache, by their URLs, by their tags, or all.",
    )
    purge.add_argument("urls", nargs="*", metavar="URL", help="such as https://shop.example/news")
    purge.add_argument(
        "--tag", action="append", default=[], metavar="TAG", help="may be given several times"
    )
    purge.add_argument("--all", action="store_true", help="remove every response")
    return ctl


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
    if options.verb == "profile":
        profile(address, options)
        return 0
    if options.verb == "events":
        show_events(address, options.follow, options.json)
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
