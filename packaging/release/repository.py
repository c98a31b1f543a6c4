"""A repository and the commands that run in it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


class CommandFailed(RuntimeError):
    """A command has ended with another status than 0."""


class Repository:
    """A working tree, in which commands run."""

    def __init__(self, root: Path, environment: dict[str, str] | None = None) -> None:
        self.root = root
        self.environment = {**os.environ, **(environment or {})}

    def run(self, *command: str) -> None:
        """Runs a command whose output the operator sees."""
        print(f"release: $ {' '.join(command)}", flush=True)
        ended = subprocess.run(command, cwd=self.root, env=self.environment)
        if ended.returncode != 0:
            raise CommandFailed(f"{' '.join(command)}: exit code {ended.returncode}")

    def ask(self, *command: str) -> str:
        """What a command prints, without the last line end."""
        ended = subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True
        )
        if ended.returncode != 0:
            raise CommandFailed(f"{' '.join(command)}: {ended.stderr.strip()}")
        return ended.stdout.rstrip("\n")

    def succeeds(self, *command: str) -> bool:
        ended = subprocess.run(command, cwd=self.root, env=self.environment, capture_output=True)
        return ended.returncode == 0

    def read(self, path: str) -> str:
        return (self.root / path).read_text("utf-8")

    def write(self, path: str, text: str) -> None:
        (self.root / path).write_text(text, "utf-8")
