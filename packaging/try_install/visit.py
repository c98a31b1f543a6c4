"""What a new user does with an installed wheel, and what must come of it."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from machine.container import Container

PORT = 8000
TLS_PORT = 8443
# Under an emulator, on a busy machine, a virtualenv alone takes minutes.
PATIENCE = 1200.0
PYTHON = "/srv/venv/bin/python"
LOCKGATE = "/srv/venv/bin/lockgate"


class Failed(Exception):
    """A step has not done what it must; the text has the step's output."""


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    log: Path
    # The process id that the server sees.
    pid: str = ""


def install(container: Container, python: str, requirement: str) -> None:
    """`requirement` is the path of the artefact inside, so that no other is taken."""
    _must(container, python, "-m", "venv", "/srv/venv")
    pip = [PYTHON, "-m", "pip", "install", "--no-index", "--no-cache-dir", "--no-compile"]
    _must(container, *pip, "--find-links", "/wheels", requirement, "flask", seconds=7200)
    _must(container, PYTHON, "-m", "pip", "check")


def look(container: Container, version: str) -> None:
    """The files and commands of the wheel."""
    printed = _must(container, LOCKGATE, "--version")
    if version not in printed:
        raise Failed(f"lockgate --version printed {printed!r}, without {version}")
    for path in (
        "/srv/venv/share/man/man1/lockgate.1",
        "/srv/venv/share/bash-completion/completions/lockgate",
    ):
        if not container.inside(path).exists():
            raise Failed(f"the wheel has not installed {path}")
    printed = _must(container, LOCKGATE, "--check-config", "app:app")
    if "app:app loads" not in printed:
        raise Failed(f"lockgate --check-config printed {printed!r}")


def start(container: Container, log: Path, *arguments: str) -> Server:
    command = [LOCKGATE, "app:app", "--workers", "2", "--pid", "/srv/app/pid", *arguments]
    command += ["--bind", f"http://127.0.0.1:{PORT}", "--bind", f"https://localhost:{TLS_PORT}"]
    command += ["--domain", "localhost", "--acme-dir", "/srv/app/acme"]
    # Plain HTTP is asked, too.
    command += ["--no-https-redirect"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            container.enter(command), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    server = Server(process, log)
    _eventually(lambda: "workers are ready" in log.read_text("utf-8", "replace"), server)
    server.pid = container.inside("/srv/app/pid").read_text().strip()
    return server


def ask(container: Container, server: Server, answer: str) -> None:
    """Each protocol, with and without a body."""
    certificate = re.search(r"/srv/app/acme/\S+\.(pem|crt)", server.log.read_text())
    if certificate is None:
        found = sorted(container.inside("/srv/app/acme").rglob("*.pem"))
        raise Failed(f"the log does not name the certificate; there are {found}")
    trust = ["--cacert", str(container.inside(certificate[0]))]
    plain, secure = f"http://127.0.0.1:{PORT}", f"https://localhost:{TLS_PORT}"
    for url, version, options in (
        (plain, "1.1", ["--http1.1"]),
        (plain, "2", ["--http2-prior-knowledge"]),
        (secure, "1.1", [*trust, "--http1.1", "--tls-max", "1.2"]),
        (secure, "2", [*trust, "--http2"]),
    ):
        _curl(container, [*options, f"{url}/"], f"{answer}\n200 {version}")
        body = ["--data-binary", "x" * 100_000]
        scheme = url.partition(":")[0]
        _curl(container, [*options, *body, f"{url}/length"], f"100000 {scheme}\n200 {version}")
        _curl(container, [*options, f"{url}/deep"], f"100\n200 {version}")


def reload(container: Container, server: Server, answer: str) -> None:
    """New code, HUP, and no failed request until it answers."""
    _must(container, "sed", "-i", f"s/version [0-9]*/{answer}/", "/srv/app/app.py")
    _must(container, "sh", "-c", f"kill -HUP {server.pid}")

    def answers() -> bool:
        done = container.curl("--fail", f"http://127.0.0.1:{PORT}/")
        if done.returncode != 0:
            raise Failed(f"a request failed during the reload: {done.stderr.strip()}")
        return done.stdout.strip() == answer

    _eventually(answers, server)


def stop(container: Container, server: Server) -> None:
    _must(container, "sh", "-c", f"kill -TERM {server.pid}")
    try:
        status = server.process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        raise Failed(f"the server has not stopped within {PATIENCE:.0f} s of TERM") from None
    if status != 0:
        raise Failed(f"the server has stopped with exit status {status}")
    left = {pid: state for pid, state in container.processes().items() if state != "Z"}
    if left:
        raise Failed(f"the server has left processes: {left}")
    errors = [line for line in server.log.read_text().splitlines() if "[ERROR]" in line]
    if errors:
        raise Failed(f"the log has errors: {errors[0]}")


def _curl(container: Container, arguments: list[str], expected: str) -> None:
    # The answer, then the status and the version of HTTP.
    done = container.curl("--write-out", "%{http_code} %{http_version}", *arguments)
    if done.stdout != expected:
        raise Failed(f"curl {' '.join(a[:60] for a in arguments)}: {done.stdout}{done.stderr}")


def _must(container: Container, *command: str, seconds: float = PATIENCE) -> str:
    try:
        done = container.execute(command, seconds=seconds)
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(command)} has not ended within {seconds:.0f} s") from None
    if done.returncode != 0:
        output = (done.stdout + done.stderr).strip()
        raise Failed(f"{' '.join(command)} failed: {output[-1500:]}")
    return done.stdout


def _eventually(is_so: Callable[[], bool], server: Server, seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        if server.process.poll() is not None or time.monotonic() > deadline:
            raise Failed(f"the server's log ends: {server.log.read_text()[-1500:]}")
        time.sleep(0.1)
