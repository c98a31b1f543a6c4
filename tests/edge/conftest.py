"""A site with static files and an application whose calls are counted over all processes."""

import os
from pathlib import Path

import pytest


class Site:
    """Servers of `edge_site`, with the files in `root`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = directory / "static"
        self.root.mkdir(parents=True)
        self.calls_path = directory / "calls"
        self.version_path = directory / "version"
        self.version_path.write_text("version 0")
        self.environment = {"CALLS": str(self.calls_path), "VERSION": str(self.version_path)}

    def calls(self, name: str = "answer") -> int:
        """How often the application was called, by all processes."""
        path = self.calls_path.with_name(f"{self.calls_path.name}.{name}")
        return os.stat(path).st_size if path.exists() else 0


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path / "site")


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory):
    return Site(tmp_path_factory.mktemp("site") / "site")
