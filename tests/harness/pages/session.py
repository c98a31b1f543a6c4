"""The shell of a page: commands run one after another in one bash, servers stay beside them."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

COMMAND_SECONDS = 60.0
SERVER_SECONDS = 60.0
# From the end of a server until its shell has written the exit code.
CODE_SECONDS = 5.0
ASKED_TO_END = {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM}
# Words of servers, and of Python, about an address that is taken.
IN_USE = re.compile(r"address already in use|\bin use\b", re.IGNORECASE)
READY = re.compile(r"\bworkers? (is|are) ready\b")
STARTING = re.compile(r"Lockgate \S+ is starting")
ON_ERROR = "page_status=$?"
# A new virtualenv is that of the pages: making one costs seconds, and it could install nothing.
FUNCTIONS = """
python() {
    case "${1-} ${2-}" in
        "-m venv") ln -sfn "$VIRTUAL_ENV" "${@: -1}" ;;
        "-m pip") shift 2; command pip "$@" ;;
        *) command python "$@" ;;
    esac
}
python3() { python "$@"; }
sudo() { "$@"; }
"""


class Failed(Exception):
    """A command that did not do what the page promises."""


@dataclass
class RunningServer:
    """A server that a page has started, with the addresses at which it listens."""

    command: str
    pid: int
    output_path: Path
    code_path: Path
    listens: set[str] = field(default_factory=set)

    @property
    def output(self) -> str:
        return self.output_path.read_text("utf-8", "replace")

    @property
    def is_alive(self) -> bool:
        return _state(self.pid) not in ("", "Z")

    @property
    def was_killed(self) -> bool:
        """Whether it has ended by a signal that does not ask for it, or its shell too."""
        if self.is_alive:
            return False
        deadline = time.monotonic() + CODE_SECONDS
        while not (code := _read(str(self.code_path)).strip()):
            if time.monotonic() > deadline:
                return True
            time.sleep(0.01)
        return int(code) > 128 and int(code) - 128 not in ASKED_TO_END

    def stop(self) -> None:
        """As Ctrl-C would, without the terminal; a server that stays is killed."""
        for signum, seconds in ((signal.SIGINT, 15.0), (signal.SIGKILL, 5.0)):
            if not self.is_alive:
                return
            os.kill(self.pid, signum)
            deadline = time.monotonic() + seconds
            while self.is_alive and time.monotonic() < deadline:
                time.sleep(0.01)


class Session:
    """One bash. Its working directory and variables last from block to block."""

    def __init__(self, directory: Path, files: Path, environment: dict[str, str]) -> None:
        self.directory = directory
        self.servers: list[RunningServer] = []
        self._files = files
        self._count = 0
        answers, its_answers = os.pipe()
        self._answers = os.fdopen(answers, "rb", buffering=0)
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-s", str(its_answers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=(files / "bash.log").open("wb"),
            cwd=directory,
            env=environment,
            pass_fds=[its_answers],
        )
        os.close(its_answers)
        self._write(f"set -o pipefail\nexec 9>&{its_answers} {its_answers}>&-\n{FUNCTIONS}\n")

    def run(self, command: str) -> tuple[int, str]:
        """Runs a command to its end; returns its exit code and what it has written."""
        output = self._new_file()
        redirections = f">{shlex.quote(str(output))} 2>&1 </dev/null 9>&-"
        # The trap acts where `set -e` would end the shell, which has to stay for the next block.
        self._write(
            f"page_status=0; trap '{ON_ERROR}' ERR\n{{ {command}\n}} {redirections}; page_last=$?\n"
            'trap - ERR; echo "$((page_status ? page_status : page_last)) $PWD" >&9\n'
        )
        code, _, directory = self._answer(command, COMMAND_SECONDS).partition(" ")
        self.directory = Path(directory)
        return int(code), output.read_text("utf-8", "replace")

    def serve(self, command: str) -> RunningServer:
        """Starts a server and waits until it listens; one that has its address is stopped."""
        command = re.sub(r"\s*&\s*$", "", command)
        self._stop_silent()
        server = self._start(command)
        has_freed = has_restarted = False
        deadline = time.monotonic() + SERVER_SECONDS
        while not self._is_ready(server):
            output = server.output
            if IN_USE.search(output) and not has_freed:
                has_freed = self._free(output, server)
            if not server.is_alive and has_freed and not has_restarted:
                # Lockgate and gunicorn try again by themselves; others have ended.
                has_restarted = True
                server = self._start(command)
                continue
            if not server.is_alive:
                raise Failed(f"the server has ended: {command}\n{output}")
            if time.monotonic() > deadline:
                raise Failed(f"no address after {SERVER_SECONDS} s: {command}\n{output}")
            time.sleep(0.02)
        server.listens = listening(server.pid)
        self.servers.append(server)
        return server

    def end_servers(self) -> None:
        for server in reversed(self.servers):
            server.stop()
        self.servers = []

    def check_servers(self) -> None:
        """Fails if a server of the page was killed; one that was asked to end may have ended."""
        for server in self.servers:
            if server.was_killed:
                raise Failed(f"the server was killed: {server.command}\n{server.output}")

    def change_directory(self, directory: Path) -> None:
        self.run(f"cd {shlex.quote(str(directory))}")

    def _start(self, command: str) -> RunningServer:
        output = self._new_file()
        redirections = f">{shlex.quote(str(output))} 2>&1 </dev/null 9>&-"
        code_path = output.with_suffix(".code")
        ending = f"echo $? >{shlex.quote(str(code_path))}"
        self._write(f"{{ {command}\n{ending}\n}} {redirections} &\necho $! >&9\n")
        shell_pid = int(self._answer(command, COMMAND_SECONDS))
        # The command is the child of the subshell that runs the braces.
        deadline = time.monotonic() + 5.0
        while not (children := _children(shell_pid)) and _state(shell_pid) not in ("", "Z"):
            if time.monotonic() > deadline:
                break
            time.sleep(0.002)
        return RunningServer(command, children[0] if children else shell_pid, output, code_path)

    def _is_ready(self, server: RunningServer) -> bool:
        if not server.is_alive or not listening(server.pid):
            return False
        output = server.output
        return READY.search(output) is not None or STARTING.search(output) is None

    def _free(self, complaint: str, server: RunningServer) -> bool:
        """Stops the servers whose address the complaint names; returns whether it stopped any.

        A server that has ended without naming an address, as Django's does, had one of theirs.
        """
        stopped = [
            other
            for other in self.servers
            if any(
                re.search(rf"(?<!\d){re.escape(place)}(?!\d)", complaint) for place in other.listens
            )
        ]
        if not stopped and not server.is_alive:
            stopped = list(self.servers)
        for other in stopped:
            other.stop()
            self.servers.remove(other)
        return bool(stopped)

    def _stop_silent(self) -> None:
        self.servers = [server for server in self.servers if server.is_alive]

    def _new_file(self) -> Path:
        self._count += 1
        path = self._files / f"{self._count:03}"
        path.touch()
        return path

    def _write(self, text: str) -> None:
        assert self._bash.stdin is not None
        self._bash.stdin.write(text.encode())
        self._bash.stdin.flush()

    def _answer(self, command: str, seconds: float) -> str:
        line = b""
        deadline = time.monotonic() + seconds
        os.set_blocking(self._answers.fileno(), False)
        while not line.endswith(b"\n"):
            piece = self._answers.read(4096)
            if piece == b"" or self._bash.poll() is not None:
                log = (self._files / "bash.log").read_text("utf-8", "replace")
                raise Failed(f"the shell has ended at: {command}\n{log}")
            if piece is None:
                if time.monotonic() > deadline:
                    raise Failed(f"not finished after {seconds} s: {command}")
                time.sleep(0.002)
            else:
                line += piece
        return line.decode().strip()


def listening(pid: int) -> set[str]:
    """TCP ports and paths of unix sockets where a process or one below it accepts connections."""
    own = _sockets(pid)
    found = set()
    for table in ("tcp", "tcp6"):
        for line in _read(f"/proc/net/{table}").splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in own:
                found.add(str(int(words[1].rpartition(":")[2], 16)))
    for line in _read("/proc/net/unix").splitlines()[1:]:
        words = line.split()
        if len(words) > 7 and words[3] == "00010000" and words[6] in own:
            found.add(words[7])
    return found


def _sockets(pid: int) -> set[str]:
    """Inodes of the sockets of a process and of those below it."""
    found = set()
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                target = os.readlink(f"/proc/{pid}/fd/{name}")
                if target.startswith("socket:["):
                    found.add(target[8:-1])
    for child in _children(pid):
        found |= _sockets(child)
    return found


def _children(pid: int) -> list[int]:
    return [int(word) for word in _read(f"/proc/{pid}/task/{pid}/children").split()]


def _state(pid: int) -> str:
    """The state of a process by its letter; empty if it has gone."""
    return _read(f"/proc/{pid}/stat").rpartition(")")[2].strip()[:1]


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "replace")
    except OSError:
        return ""
