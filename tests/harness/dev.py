"""`lockgate dev`, started as a developer starts it, in a project of files."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from harness.browser import Browser, Page
from harness.patience import eventually
from harness.process import clean_environment, processes_of_session

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def project(directory: Path, files: Mapping[str, str]) -> Path:
    """Writes the files, by their relative paths."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


def environment_of(extra: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without what names an application or a style of output."""
    kept = {
        name: value
        for name, value in clean_environment().items()
        if not name.startswith(("FLASK_", "DJANGO_")) and name not in ("NO_COLOR", "FORCE_COLOR")
    }
    return {**kept, **extra}


class DevServer:
    """`python -m lockgate dev --port 0 …` in a session of its own. `end` leaves nothing behind."""

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        port: bool = True,
    ) -> None:
        self.directory = directory
        self.output_path = directory.parent / f"{directory.name}.stdout"
        self.errors_path = directory.parent / f"{directory.name}.stderr"
        ports = ["--port", "0"] if port else []
        with self.output_path.open("wb") as output, self.errors_path.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lockgate", "dev", *ports, *arguments],
                cwd=directory,
                env=environment_of(environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )

    @property
    def errors(self) -> str:
        return self.errors_path.read_text("utf-8", "backslashreplace")

    @property
    def output(self) -> str:
        return self.output_path.read_text("utf-8", "backslashreplace")

    @property
    def url(self) -> str:
        """The first URL that it has printed."""

        def found() -> str | None:
            match = re.search(r"^(https?://\S+)", self.errors, re.MULTILINE)
            assert match or self.process.poll() is None, f"ended:\n{self.errors}"
            return match[1] if match else None

        return str(eventually(found, within=30, what="a URL"))

    def get(self, path: str = "/", accept: str = "*/*") -> Page:
        return Browser(self.url).open(path, headers={"Accept": accept})

    def page(self, path: str = "/") -> Page:
        """As a browser asks."""
        return Browser(self.url).open(path, headers=BROWSER)

    def eventually(self, path: str, text: str, within: float = 30.0) -> Page:
        """The page, as soon as it has this text."""
        return eventually(
            lambda: page if text in (page := self.get(path)).text else None,
            within=within,
            what=f"{text!r} at {path}",
        )

    def wait_for(self, pattern: str, within: float = 30.0) -> str:
        """The first match on standard error."""
        found = eventually(
            lambda: re.search(pattern, self.errors, re.MULTILINE), within=within, what=pattern
        )
        return found[0]

    def save(self, name: str, text: str) -> None:
        """Writes a file of the project, which the server watches."""
        project(self.directory, {name: text})

    def interrupt(self, within: float = 30.0) -> int:
        """Ctrl-C, which the terminal sends to all processes of the job; the exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(within)

    def end(self) -> None:
        pids = processes_of_session(self.process.pid)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
