"""Thread dumps of a running server, formatted for `lockgate ctl stacks` and `lockgate top`."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

from lockgate.admin_client import Refused, printable, read_object

#: Number of attempts when another client is dumping stacks.
ATTEMPTS = 10

#: Paths of Python itself and of installed packages.
LIBRARY = re.compile(r"/(site|dist)-packages/|/lib(64)?/python3(\.\d+t?)?/|^<frozen ")
LOCKGATE = "/site-packages/lockgate/"


def read_stacks(address: str) -> Any:
    for _ in range(ATTEMPTS - 1):
        try:
            return read_object(address, "/stacks")
        except Refused as refused:
            if "try again" not in str(refused):
                raise
            time.sleep(0.3)
    return read_object(address, "/stacks")


def innermost(frames: list[Any]) -> str:
    """The innermost frame of the application's own code, or of any code but the server's."""
    frames = [frame for frame in frames if LOCKGATE not in frame["file"]]
    own = [frame for frame in frames if not LIBRARY.search(frame["file"])]
    for frame in own or frames:
        name = frame["file"].rpartition("/")[2]
        return printable(f"{name}:{frame['line']} in {frame['function']}")
    return "-"


def places(stacks: Any) -> dict[tuple[int, int], str]:
    """The innermost frame of each thread, by the pid of its worker and its native ID."""
    return {
        (worker["pid"], thread["thread"]): innermost(thread["frames"])
        for worker in stacks["workers"]
        for thread in worker["threads"]
    }


def all_lines(stacks: Any) -> Iterator[str]:
    """The stacks of all threads of all workers."""
    for worker in stacks["workers"]:
        name = f"worker {worker['slot']} (pid {worker['pid']})"
        if worker["problem"] is not None:
            yield f"{name}: {printable(worker['problem'])}"
            continue
        yield name
        for thread in worker["threads"]:
            yield f"  {thread_line(thread)}"
            yield from frame_lines(thread, "    ")


def request_stacks(stacks: Any) -> Iterator[str]:
    """The stacks of all running requests, the oldest first."""
    rows = [
        (thread["request"]["age"], worker, thread)
        for worker in stacks["workers"]
        for thread in worker["threads"]
        if thread["request"] is not None
    ]
    rows.sort(key=lambda row: -row[0])
    for _, worker, thread in rows:
        yield f"worker {worker['slot']} (pid {worker['pid']}), {thread_line(thread)}"
        yield from frame_lines(thread, "    ")
    for worker in stacks["workers"]:
        if worker["problem"] is not None:
            name = f"worker {worker['slot']} (pid {worker['pid']})"
            yield f"{name}: {printable(worker['problem'])}"
    if not rows:
        yield "no request is running"


def thread_line(thread: Any) -> str:
    number = f"thread {thread['thread'] or thread['ident']}"
    request = thread["request"]
    if request is None:
        return f"{number} runs no request"
    client = printable(request["client"])
    origin = f" from {client}" if client else ""
    return f"{number} runs {shown_request(request)}{origin}, {request['age']:.2f} s"


def shown_request(request: Any) -> str:
    """Its method, target and id, with a mark if its call has taken the connection over."""
    cut = "…" if request["target_is_cut"] else ""
    mark = " (WebSocket)" if request["websocket"] else ""
    if "request_id" in request:
        mark += f" (id {printable(request['request_id'])})"
    return f"{printable(request['method'])} {printable(request['target'])}{cut}{mark}"


def frame_lines(thread: Any, indent: str) -> Iterator[str]:
    for frame in thread["frames"]:
        yield indent + printable(f"{frame['file']}:{frame['line']} in {frame['function']}")
    if thread["is_cut"]:
        yield f"{indent}..."
