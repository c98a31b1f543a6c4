"""A container: processes that have a root file system and namespaces of their own.

What `docker run` does with an image, as far as a server can notice it: process 1, a private
network with a loopback interface, an overlay that takes all changes, or a read-only root.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

NAMESPACES = ("--mount", "--net", "--pid", "--uts", "--ipc")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Options:
    """How process 1 runs, as the options of `docker run` of the same names."""

    environment: Mapping[str, str] = field(default_factory=lambda: {"PATH": PATH, "HOME": "/root"})
    working_directory: str = "/"
    user: tuple[int, int] = (0, 0)
    # Paths inside, and the directories or files of this machine that they show, read-only.
    volumes: Mapping[str, Path] = field(default_factory=dict)
    # The same for directories that are written to.
    writable_volumes: Mapping[str, Path] = field(default_factory=dict)
    tmpfs: Sequence[str] = ()
    read_only: bool = False
    no_new_privileges: bool = False
    # The directory of a cgroup that the processes join.
    cgroup: Path | None = None
    # More names of the loopback address, as `--add-host`.
    hosts: Sequence[str] = ()
    # The network namespace of another container, as `--network container:NAME`.
    network_of: Container | None = None


class Container:
    """Runs `command` as process 1; leaving the `with` block kills all processes."""

    def __init__(
        self,
        roots: Sequence[Path],
        command: Sequence[str],
        options: Options | None = None,
        *,
        changes: Path | None = None,
        output: Path | None = None,
    ) -> None:
        """`roots` are the layers, the topmost first; none of them is changed.

        `changes` is a directory that keeps what is written above them, as a new layer does.

        `output` is a file that gets standard output and standard error of process 1.
        """
        self.roots = list(roots)
        self.command = list(command)
        self.options = options or Options()
        self._changes = changes
        self._directory = tempfile.TemporaryDirectory(prefix="lockgate-container-")
        self.output = output or Path(self._directory.name) / "output"
        self._unshare: subprocess.Popen[bytes] | None = None
        # The process id of process 1 outside.
        self.pid = 0

    def __enter__(self) -> Container:
        scratch = Path(self._directory.name)
        changes = self._changes or scratch
        for name in ("upper", "work"):
            (changes / name).mkdir(parents=True, exist_ok=True)
        (scratch / "root").mkdir()
        names = " ".join(("localhost", "container", *self.options.hosts))
        (scratch / "hosts").write_text(f"127.0.0.1 {names}\n::1 localhost\n", "ascii")
        started = scratch / "started"
        os.mkfifo(started)
        script = "\n".join(
            [
                "set -e",
                *self._mounts(scratch / "root", changes),
                # Opening blocks until the reader is there, and the mounts are complete then.
                f"echo > {shlex.quote(str(started))}",
                f"exec {shlex.join(self._process_one(scratch / 'root'))}",
            ]
        )
        prefix: list[str] = []
        namespaces = [*NAMESPACES]
        if self.options.network_of is not None:
            prefix = ["nsenter", f"--net=/proc/{self.options.network_of.pid}/ns/net"]
            namespaces.remove("--net")
        script = self._join_cgroup() + script
        with self.output.open("ab") as output:
            self._unshare = subprocess.Popen(
                [*prefix, "unshare", *namespaces, "--fork", "--kill-child", "sh", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            self._await_start(started)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._unshare is not None
        if self._unshare.poll() is None:
            # With process 1 the kernel kills all others of its namespace.
            self.kill(signal.SIGKILL)
            self._unshare.wait(20)
        # The overlay's work directory has entries that only root may remove.
        subprocess.run(["rm", "-rf", "--one-file-system", self._directory.name], check=True)

    def _await_start(self, started: Path) -> None:
        """Returns when process 1 has its root, or has already ended."""
        assert self._unshare is not None
        deadline = time.monotonic() + 30
        descriptor = os.open(started, os.O_RDONLY | os.O_NONBLOCK)
        try:
            while True:
                # A short command may end at any moment, after it has started.
                has_ended = self._unshare.poll() is not None
                if _has_arrived(descriptor):
                    break
                if has_ended or time.monotonic() > deadline:
                    raise RuntimeError(f"the container has not started: {self.log()}")
                time.sleep(0.005)
        finally:
            os.close(descriptor)
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        while self._unshare.poll() is None:
            with contextlib.suppress(OSError, IndexError):
                self.pid = int(children.read_text().split()[0])
                # Before it changes its root, what enters the container would enter this machine's.
                if not os.path.samefile(f"/proc/{self.pid}/root", "/"):
                    return
            if time.monotonic() > deadline:
                raise RuntimeError(f"process 1 has no root: {self.log()}")
            time.sleep(0.005)

    def _process_one(self, root: Path) -> list[str]:
        # env and unshare are those of this machine: the root may have neither.
        options = self.options
        uid, gid = options.user
        command = ["env", "-i", *(f"{name}={value}" for name, value in options.environment.items())]
        if options.no_new_privileges:
            command += ["/usr/bin/setpriv", "--no-new-privs"]
        command += ["/usr/bin/unshare", f"--root={root}", f"--wd={options.working_directory}"]
        if (uid, gid) != (0, 0):
            command += [f"--setgid={gid}", f"--setuid={uid}"]
        return [*command, "--", *self.command]

    def _mounts(self, root: Path, changes: Path) -> list[str]:
        """Commands that lay out the file system below `root`, in a mount namespace."""
        inside = shlex.quote(str(root))
        lower = ":".join(str(layer) for layer in self.roots)
        overlay = f"lowerdir={lower},upperdir={changes}/upper,workdir={changes}/work"
        lines = [
            "ip link set lo up",
            "hostname container",
            f"mount -t overlay overlay -o {shlex.quote(overlay)} {inside}",
            f"mkdir -p {inside}/proc {inside}/sys {inside}/dev {inside}/etc",
            # As with Docker the file is not part of the image.
            f"touch {inside}/etc/hosts",
        ]
        volumes = [
            (inside + shlex.quote(path), source, is_writable)
            for kind, is_writable in (
                (self.options.volumes, False),
                (self.options.writable_volumes, True),
            )
            for path, source in kind.items()
        ]
        for target, source, _ in volumes:
            if source.is_dir():
                lines.append(f"mkdir -p {target}")
            else:
                lines.append(f'mkdir -p "$(dirname {target})" && touch {target}')
        lines += [f"mkdir -p {inside}{shlex.quote(path)}" for path in self.options.tmpfs]
        if self.options.read_only:
            lines.append(f"mount -o remount,bind,ro {inside}")
        lines += [
            f"mount --bind {shlex.quote(str(root.parent / 'hosts'))} {inside}/etc/hosts",
            f"mount -t proc proc {inside}/proc",
            f"mount --rbind /sys {inside}/sys",
            f"mount -o remount,bind,ro {inside}/sys",
            f"mount -t tmpfs -o mode=755,nosuid tmpfs {inside}/dev",
            f"for name in {' '.join(DEVICES)}; do",
            f"  touch {inside}/dev/$name; mount --bind /dev/$name {inside}/dev/$name",
            "done",
            f"ln -s /proc/self/fd {inside}/dev/fd",
            f"ln -s /proc/self/fd/0 {inside}/dev/stdin",
            f"ln -s /proc/self/fd/1 {inside}/dev/stdout",
            f"ln -s /proc/self/fd/2 {inside}/dev/stderr",
            f"mkdir {inside}/dev/shm",
            f"mount -t tmpfs -o mode=1777,size=64m tmpfs {inside}/dev/shm",
        ]
        for target, source, is_writable in volumes:
            lines.append(f"mount --bind {shlex.quote(str(source))} {target}")
            if not is_writable:
                lines.append(f"mount -o remount,bind,ro {target}")
        for path in self.options.tmpfs:
            lines.append(f"mount -t tmpfs -o mode=1777 tmpfs {inside}{shlex.quote(path)}")
        return lines

    def _join_cgroup(self) -> str:
        if self.options.cgroup is None:
            return ""
        return f"echo 0 > {shlex.quote(str(self.options.cgroup / 'cgroup.procs'))}\n"

    def inside(self, path: str) -> Path:
        """A path of the container, for programs of this machine."""
        return Path(f"/proc/{self.pid}/root{path}")

    def log(self) -> str:
        return self.output.read_text("utf-8", "replace")

    def kill(self, number: int) -> None:
        """Sends a signal to process 1, as `docker kill` and `docker stop` do."""
        if self.pid:
            os.kill(self.pid, number)
        elif self._unshare is not None:
            self._unshare.kill()

    def wait(self, seconds: float) -> int:
        """The exit status of process 1; 128 + N if signal N has killed it."""
        assert self._unshare is not None
        status = self._unshare.wait(seconds)
        return status if status >= 0 else 128 - status

    def processes(self) -> dict[int, str]:
        """The process ids (of this machine) and states of all processes but process 1."""
        namespace = os.readlink(f"/proc/{self.pid}/ns/pid")
        found = {}
        for entry in os.listdir("/proc"):
            try:
                if not entry.isdigit() or os.readlink(f"/proc/{entry}/ns/pid") != namespace:
                    continue
                state = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if int(entry) != self.pid:
                found[int(entry)] = state
        return found

    def enter(self, command: Sequence[str], *, user: tuple[int, int] | None = None) -> list[str]:
        """The command that runs `command` in the container, as `docker exec` does."""
        uid, gid = user or self.options.user
        prefix = ["env", "-i"]
        prefix += [f"{name}={value}" for name, value in self.options.environment.items()]
        prefix += ["/usr/bin/nsenter", f"--target={self.pid}", *NAMESPACES, "--root"]
        prefix.append(f"--wd=/proc/{self.pid}/root{self.options.working_directory}")
        if (uid, gid) != (0, 0):
            prefix += [f"--setgid={gid}", f"--setuid={uid}"]
        return [*prefix, "--", *command]

    def execute(
        self,
        command: Sequence[str],
        *,
        user: tuple[int, int] | None = None,
        seconds: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.enter(command, user=user),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
        )

    def curl(self, *arguments: str, seconds: float = 30) -> subprocess.CompletedProcess[str]:
        """This machine's curl, in the network of the container."""
        return subprocess.run(
            ["nsenter", f"--net=/proc/{self.pid}/ns/net", "curl", "--silent", "--show-error"]
            + ["--max-time", str(seconds), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )


def _has_arrived(descriptor: int) -> bool:
    """Whether something was written to a FIFO."""
    try:
        return bool(os.read(descriptor, 10))
    except BlockingIOError:
        return False
