"""The unsafe functions of lockgate-python (`ffi`) under valgrind: `python tests/unsafe_ffi.py`.

A server of the installed package gets the requests of `apps/unsafe_paths.py`, which reach each of
them. Fails if valgrind finds an invalid read or write, or a use of uninitialized memory.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import Wire, chunked, free_port, request

TESTS = Path(__file__).parent
WITHOUT_AUXV = TESTS.parent / "bench" / "without_auxv.py"
SUPPRESSIONS = TESTS / "unsafe_ffi.supp"
# Everything is some thirty times slower.
PATIENCE = 60.0
ROUNDS = 3


def main() -> int:
    if not shutil.which("valgrind"):
        print("unsafe: valgrind is missing: apt install valgrind", file=sys.stderr)
        return 2
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = check(Path(folder))
        except Failed as failure:
            print(f"unsafe: {failure}", file=sys.stderr)
            return 1
    seconds = time.monotonic() - began
    print(f"unsafe: ffi of lockgate-python: {found} processes without an error, {seconds:.0f} s")
    return 0


class Failed(Exception):
    """The text has what valgrind or the server reported."""


def check(folder: Path) -> int:
    """The number of processes that valgrind has watched."""
    port = free_port()
    log = folder / "log"
    with log.open("wb") as stream:
        server = subprocess.Popen(
            [*valgrind(folder), *command(port)],
            env=os.environ | {"PYTHONMALLOC": "malloc"},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
        )
    try:
        connect(server, port).close()
        for _ in range(ROUNDS):
            for target, data in REQUESTS.items():
                ask(port, target, data)
            leave(port)
        ask(port, "/late", request("GET", "/late"), status=504)
        server.send_signal(signal.SIGTERM)
        server.wait(PATIENCE)
    except (OSError, AssertionError, subprocess.TimeoutExpired) as error:
        raise Failed(f"{type(error).__name__}: {error}\n{log.read_text()}") from None
    finally:
        server.kill()
        server.wait()
    reports = [path.read_text() for path in folder.glob("valgrind.*")]
    errors = [report for report in reports if "== " in report]
    if errors or server.returncode != 0:
        raise Failed("\n".join([*errors, f"exit code {server.returncode}", log.read_text()]))
    return len(reports)


def valgrind(folder: Path) -> list[str]:
    arguments = [
        "--quiet",
        "--fair-sched=yes",
        "--error-exitcode=99",
        f"--log-file={folder}/valgrind.%p",
    ]
    arguments.append(f"--suppressions={SUPPRESSIONS}")
    return [sys.executable, str(WITHOUT_AUXV), "valgrind", *arguments]


def command(port: int) -> list[str]:
    # A body of more than 8 KiB goes to disk.
    options = {
        "--bind": f"127.0.0.1:{port}",
        "--workers": "1",
        "--threads": "2",
        "--timeout": "0",
        "--chdir": str(TESTS / "apps"),
        "--body-memory": "8K",
        "--request-timeout": "8",
        "--stream-request-body": "/stream/",
    }
    flat = [word for pair in options.items() for word in pair]
    return [sys.executable, "-m", "lockgate", "unsafe_paths:app", *flat]


BODY = b"0123456789abcde\n" * 70_000
REQUESTS = {
    "/hello": request("GET", "/hello"),
    "/h%C3%A9llo": request("GET", "/caf%C3%A9/hello?caf%C3%A9", "Cookie: a=\u00e9"),
    "/headers": request("GET", "/headers", "X-Sent: caf\u00e9"),
    "/keep": request("GET", "/keep"),
    "/keep again": request("GET", "/keep"),
    "/use_kept": request("GET", "/use_kept"),
    "/large": request("GET", "/large"),
    "/write": request("GET", "/write"),
    "/file": request("GET", "/file"),
    "/context": request("GET", "/context"),
    "/read in memory": request("POST", "/read", body=b"x" * 1000),
    "/read on disk": request("POST", "/read", body=BODY),
    "/lines on disk": request("POST", "/lines", body=BODY),
    "/read streamed": request("POST", "/stream/read", body=BODY),
    "/lines streamed": request("POST", "/stream/lines", "Transfer-Encoding: chunked")
    + chunked([BODY[:100_000], BODY[100_000:]]),
}


def connect(server: subprocess.Popen[bytes], port: int) -> socket.socket:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and server.poll() is None:
        try:
            return socket.create_connection(("127.0.0.1", port), PATIENCE)
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise AssertionError("the server does not listen")


def ask(port: int, target: str, data: bytes, status: int = 200) -> None:
    with Wire(("127.0.0.1", port), PATIENCE) as wire:
        wire.send(data)
        response = wire.response()
        assert response.status == status, f"{target}: {response.status} {response.body!r}"


def leave(port: int) -> None:
    """Resets the connection during the response: its pieces are dropped without the GIL."""
    with Wire(("127.0.0.1", port), PATIENCE) as wire:
        wire.send(request("GET", "/pieces"))
        wire.head()
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


if __name__ == "__main__":
    sys.exit(main())
