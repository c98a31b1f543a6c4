"""A process for the application under check, and the watch on it: whatever the application does to
its process, the check ends, and reports what it has found so far.

The child sends one JSON object per line: a step that begins, a finding, or the result.
"""

from __future__ import annotations

import faulthandler
import json
import os
import re
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

from lockgate.check import places
from lockgate.check.finding import Finding, Place, Rule
from lockgate.check.report import Result, relative
from lockgate.check.rules import all as rules
from lockgate.check.rules import requests as request_rules

#: How often the supervisor looks at the child, in seconds.
POLL_SECONDS = 0.1
#: For the traceback of a process that is about to be killed, in seconds.
DUMP_SECONDS = 2.0
#: For what Python runs at the end of a program, in seconds.
EXIT_SECONDS = 6.0
#: Until the first step, in seconds.
START_SECONDS = 60.0

#: A frame in what faulthandler writes.
FRAME = re.compile(r'  File "(.+)", line (\d+) in (.+)')
#: The head of a thread there; a free-threaded Python shows the thread that crashed, without a name.
THREAD = re.compile(r"^(?:Current thread |Thread |Stack \()", re.MULTILINE)
#: The function of `driving` below which a request runs.
OF_REQUEST = "_exchange"


@dataclass
class Step:
    """What the child is about to do, and how long that may take without another message."""

    #: Completes "while": `it was asked GET /`.
    text: str
    seconds: float
    request: str | None = None


class Sender:
    """The child's end of the pipe."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._pid = os.getpid()

    def follow(self) -> None:
        """This process, which the sender's has forked, continues the check."""
        self._pid = os.getpid()
        self._send({"pid": self._pid})

    def step(self, step: Step) -> None:
        self._send({"step": [step.text, step.seconds, step.request]})

    def imported(self, paths: int) -> None:
        """The application is there; requests to this number of paths follow."""
        self._send({"imported": paths})

    def exits(self, place: Place | None) -> None:
        if place is not None:
            self._send({"exits": list(place)})

    def finding(self, finding: Finding) -> None:
        place = list(finding.place) if finding.place else None
        self._send({"finding": [finding.rule.id, finding.text, place, finding.request]})

    def result(self, result: Result) -> None:
        kept = ("requests", "paths", "problem", "problem_code", "skipped")
        self._send({"result": {name: getattr(result, name) for name in kept}})

    def _send(self, message: dict[str, Any]) -> None:
        if os.getpid() != self._pid:
            # The application has forked, and its process has returned into the check.
            return
        line = json.dumps(message).encode() + b"\n"
        while line:
            line = line[os.write(self._descriptor, line) :]


def run(
    application: str,
    work: Callable[[Sender], None],
    on_step: Callable[[Step, int], None],
) -> Result:
    """Runs `work` in a child process. Returns what it has sent, and how it has ended if that was
    too early."""
    receiver, sender = os.pipe()
    with tempfile.TemporaryFile() as dump:
        child = os.fork()
        if child == 0:
            os.close(receiver)
            be_child(work, sender, dump)
        os.close(sender)
        supervisor = Supervisor(child, receiver, dump, Result(application), on_step)
        try:
            return supervisor.run()
        finally:
            supervisor.kill()
            os.close(receiver)


def be_child(work: Callable[[Sender], None], descriptor: int, dump: BinaryIO) -> None:
    """Does not return."""
    leave = os._exit
    code = 1
    try:
        # A group of its own, so that all that the application starts can be killed.
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # Also for the traceback that the supervisor asks for: it needs no lock of Python.
        faulthandler.enable(dump, all_threads=True)
        sender = Sender(descriptor)

        def recorded_exit(status: int) -> NoReturn:
            sender.exits(places.own_frame(sys._getframe(1)))
            leave(status)

        os._exit = recorded_exit
        work(sender)
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        leave(code)


class Supervisor:
    def __init__(
        self,
        child: int,
        receiver: int,
        dump: BinaryIO,
        result: Result,
        on_step: Callable[[Step, int], None],
    ) -> None:
        self._child = child
        #: The process that runs the application: the child, or with `preload` one that it forks.
        self._worker = child
        self._receiver = receiver
        self._dump = dump
        self._result = result
        self._on_step = on_step
        self._step = Step("it was started", START_SECONDS)
        self._ends = time.monotonic() + START_SECONDS
        self._exits_at: Place | None = None
        self._is_imported = False
        self._is_complete = False
        self._buffer = b""

    def run(self) -> Result:
        while not self._is_complete:
            has_ended = self._has_ended()
            # The pipe may stay open in a process that the application has started.
            is_ready, _, _ = select.select(
                [self._receiver], [], [], 0 if has_ended else POLL_SECONDS
            )
            data = os.read(self._receiver, 1 << 16) if is_ready else b""
            if data:
                self._read(data)
            self._on_step(self._step, self._result.requests)
            if data:
                continue
            if has_ended:
                self._fail_ended()
                return self._result
            elif time.monotonic() > self._ends:
                self._fail_frozen()
                return self._result
            elif is_ready:
                # It is closed: the end of the process follows, or the time.
                time.sleep(POLL_SECONDS)
        self._await_end(EXIT_SECONDS)
        return self._result

    def _read(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            for name, value in json.loads(line).items():
                self._take(name, value)

    def _take(self, name: str, value: Any) -> None:
        if name == "pid":
            self._worker = value
        elif name == "exits":
            self._exits_at = Place(*value)
        elif name == "step":
            self._step = Step(*value)
            self._ends = time.monotonic() + self._step.seconds
            self._result.requests += self._step.request is not None
        elif name == "imported":
            self._is_imported, self._result.paths = True, value
        elif name == "finding":
            rule, text, place, request = value
            at = Place(*place) if place else None
            self._result.findings.append(Finding(rules.by_id()[rule], text, at, request))
        else:
            vars(self._result).update(value)
            self._is_complete = True

    def _has_ended(self) -> bool:
        # It stays a zombie, so that its number and that of its group stay its own.
        return self._end() is not None

    def _end(self) -> Any:
        return os.waitid(os.P_PID, self._child, os.WEXITED | os.WNOHANG | os.WNOWAIT)

    def _await_end(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        while not self._has_ended() and time.monotonic() < ends:
            time.sleep(POLL_SECONDS / 10)

    def _fail_ended(self) -> None:
        end = self._end()
        if end.si_code == os.CLD_EXITED:
            how = f"with code {end.si_status}"
        else:
            how = f"by {signal.Signals(end.si_status).name}"
        text = f"the application has ended the process {how} while {self._step.text}"
        self._fail(request_rules.PROCESS_END, text, self._exits_at or self._standing())

    def _fail_frozen(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._worker, signal.SIGABRT)
        self._await_end(DUMP_SECONDS)
        if not self._is_imported:
            text = f"the import is not complete after {self._step.seconds:g} s"
        else:
            text = (
                f"no thread of the process has run for {self._step.seconds:g} s "
                f"while {self._step.text}"
            )
        self._fail(request_rules.FROZEN, text, self._standing())

    def _fail(self, rule: Rule, text: str, place: Place | None) -> None:
        if self._is_imported:
            self._result.findings.append(Finding(rule, text, place, self._step.request))
            self._result.skipped.append("all further requests")
        else:
            at = f", at {relative(place.file, os.getcwd())}:{place.line}" if place else ""
            self._result.problem = text + at
            self._result.problem_code = 3

    def _standing(self) -> Place | None:
        self._dump.seek(0)
        return standing(self._dump.read().decode("utf-8", "replace"))

    def kill(self) -> None:
        """Kills the process and, if the result is not complete, all that it has started."""
        if not self._is_complete or not self._has_ended():
            for kill, number in ((os.killpg, self._child), (os.kill, self._child)):
                with suppress(ProcessLookupError, PermissionError):
                    kill(number, signal.SIGKILL)
        os.waitpid(self._child, 0)


def standing(traceback: str) -> Place | None:
    """The innermost own line in what faulthandler has written: of a request, or of any thread."""
    found: list[tuple[bool, Place]] = []
    for thread in THREAD.split(traceback)[1:]:
        frames = [frame.groups() for frame in FRAME.finditer(thread)]
        own = [Place(file, int(line)) for file, line, _ in frames if places.is_own(file)]
        if own:
            is_request = any(function == OF_REQUEST for _, _, function in frames)
            found.append((is_request, own[0]))
    of_requests = [place for is_request, place in found if is_request]
    # faulthandler writes the main thread last.
    return of_requests[-1] if of_requests else found[-1][1] if found else None
