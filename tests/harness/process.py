"""One Lockgate process tree, started and watched from outside. It ends only what it started."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.patience import eventually
from harness.wire import Response, Wire, request

TESTS = Path(__file__).resolve().parent.parent
APPS = TESTS / "apps"
EXAMPLES = TESTS.parent / "examples"
#: Keeps the working directory out of `sys.path`; Python 3.10 has only the isolated mode for it.
SAFE_PATH = "-P" if sys.version_info >= (3, 11) else "-I"
RUNNING: list[Server] = []
# Variables that systemd may set for the process that runs the tests.
SYSTEMD = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS")


class Server:
    """`python -m lockgate APP -b ADDRESS -w N …` in a session of its own."""

    def __init__(
        self,
        directory: Path,
        app: str,
        *arguments: str,
        workers: int | str | None = 1,
        bind: Sequence[str] | None = None,
        chdir: Path = APPS,
        environment: dict[str, str] | None = None,
        prefix: Sequence[str] = (),
        program: Sequence[str] = (sys.executable, "-m", "lockgate"),
        pass_fds: Sequence[int] = (),
        wait: bool = True,
    ) -> None:
        self.port = free_port()
        self.address: tuple[str, int] | str = ("127.0.0.1", self.port)
        binds = [f"127.0.0.1:{self.port}"] if bind is None else list(bind)
        self.stdout_path = directory / f"{self.port}.stdout"
        self.stderr_path = directory / f"{self.port}.stderr"
        self.command = [*prefix, *program, app]
        for address in binds:
            self.command += ["-b", address]
        if workers is not None:
            self.command += ["-w", str(workers)]
        self.command += arguments
        self.label = " ".join([app, *arguments])
        with self.stdout_path.open("wb") as stdout, self.stderr_path.open("wb") as stderr:
            self.process = subprocess.Popen(
                self.command,
                cwd=chdir,
                env=clean_environment(environment),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                pass_fds=pass_fds,
                start_new_session=True,
            )
        RUNNING.append(self)
        if wait:
            self.wait_until_ready()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def errors(self) -> str:
        return self.stderr_path.read_text("utf-8", "backslashreplace")

    @property
    def output(self) -> str:
        return self.stdout_path.read_text("utf-8", "backslashreplace")

    def wait_until_ready(self, within: float = 20.0) -> None:
        def is_ready() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"exited with {self.process.returncode}:\n{self.errors}")
            return re.search(r"\bworkers? (is|are) ready\b", self.errors) is not None

        eventually(is_ready, within=within, what=f"{' '.join(self.command)} is ready")

    def wait_for_log(self, pattern: str, within: float = 10.0, since: int = 0) -> str:
        """The first match of `pattern` on stderr, behind its first `since` characters."""
        found = eventually(
            lambda: re.search(pattern, self.errors[since:], re.IGNORECASE),
            within=within,
            what=f"{pattern!r} in the error log",
        )
        return found[0]

    def workers(self) -> list[int]:
        return children(self.pid)

    def connect(self, timeout: float = 15.0) -> Wire:
        return Wire(self.address, timeout)

    def accepts(self) -> bool:
        """Whether a connection is accepted: one still queued when the listener closes is reset."""
        try:
            self.connect().close()
        except (ConnectionRefusedError, ConnectionResetError):
            return False
        return True

    def get(self, target: str = "/", *headers: str, method: str = "GET") -> Response:
        return self.exchange(request(method, target, *headers, "Connection: close"), method)

    def post(self, target: str, body: bytes, *headers: str) -> Response:
        return self.exchange(request("POST", target, *headers, "Connection: close", body=body))

    def exchange(self, data: bytes, method: str = "GET") -> Response:
        """Sends `data` on a new connection, reads one response; then the peer must close."""
        with self.connect() as wire:
            wire.send_while_open(data)
            response = wire.response(method)
            wire.expect_close()
        return response

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, within: float = 20.0) -> int:
        """The exit code."""
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {within} s:\n{self.errors}") from None

    def stop(self, within: float = 20.0) -> int:
        """TERM, then the exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait(within)

    def end(self) -> None:
        """Leaves nothing behind, whatever the test did."""
        if self in RUNNING:
            RUNNING.remove(self)
        orphans = [pid for pid in processes_of_session(self.pid) if pid != self.pid]
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in orphans:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def run(
    *arguments: str,
    chdir: Path = APPS,
    environment: dict[str, str] | None = None,
    within: float = 20.0,
) -> subprocess.CompletedProcess[str]:
    """`python -m lockgate …` to its end, for commands that are expected to end by themselves."""
    return subprocess.run(
        [sys.executable, "-m", "lockgate", *arguments],
        cwd=chdir,
        env=clean_environment(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
    )


def restore_signals() -> None:
    """Gives every process that this one starts the dispositions that a login shell gives it.

    nohup and some CI runners ignore SIGHUP, SIGINT or SIGQUIT, and children inherit what is ignored
    or blocked.
    """
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())


def clean_environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """The caller's environment without any setting of a server in it."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("LOCKGATE_")}
    for key in ("PORT", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "PYTHONPATH", *SYSTEMD):
        kept.pop(key, None)
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", **(extra or {})}


def free_port() -> int:
    """A port below the ephemeral range, so that no outgoing connection can take it meanwhile."""
    while True:
        port = random.randrange(15000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def process_stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on, or None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def is_alive(pid: int) -> bool:
    stat = process_stat(pid)
    return stat is not None and stat[0] not in "ZX"


def open_files(pid: int) -> list[str]:
    """What the descriptors of a process lead to."""
    found = []
    for number in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/{pid}/fd/{number}"))
    return found


def children(pid: int) -> list[int]:
    return sorted(other for other, stat in _processes() if stat[1] == str(pid))


def processes_of_session(session: int) -> list[int]:
    return sorted(other for other, stat in _processes() if stat[3] == str(session))


def resident_bytes(pid: int, field: str = "VmRSS") -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"/proc/{pid}/status has no {field}")


def _processes() -> list[tuple[int, list[str]]]:
    """Every living process; zombies are dead."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            stat = process_stat(int(entry))
            if stat is not None and stat[0] not in "ZX":
                found.append((int(entry), stat))
    return found
