"""Holds an application's import in every process, so that a test can act while workers boot."""

from __future__ import annotations

from pathlib import Path

from harness.patience import eventually


class ImportGate:
    """Put `preamble` at the top of a module: what imports it waits until `open`.

    A process that stands at the gate has read its module, so the file may be replaced.
    """

    def __init__(self, directory: Path, name: str = "gate") -> None:
        self.path = directory / name

    @property
    def preamble(self) -> str:
        return (
            "import os, time\n"
            f"open({str(self.path)!r} + '.' + str(os.getpid()), 'w').close()\n"
            f"while not os.path.exists({str(self.path)!r}): time.sleep(0.01)"
        )

    def processes(self) -> set[int]:
        """Every process that has come to the gate so far."""
        return {int(mark.suffix[1:]) for mark in self.path.parent.glob(f"{self.path.name}.*")}

    def wait_for(self, count: int) -> set[int]:
        eventually(lambda: len(self.processes()) >= count, what=f"{count} imports at the gate")
        return self.processes()

    def open(self) -> None:
        self.path.touch()
