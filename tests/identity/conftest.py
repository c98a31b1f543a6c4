"""Servers with an identity of requests."""

import json

import pytest
from harness import eventually


class Site:
    """A server whose access log is read."""

    def __init__(self, start, directory, app, settings, *arguments, **options):
        self.log = directory / "access.log"
        config = directory / "identity.toml"
        lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
        config.write_text("\n".join([*lines, ""]))
        files = ("--access-logfile", str(self.log), "--access-logformat", "json")
        self.server = start(app, "--config", str(config), *files, *arguments, **options)

    def lines(self, count):
        def complete():
            text = self.log.read_text() if self.log.exists() else ""
            return text.splitlines() if text.count("\n") >= count else None

        return [json.loads(line) for line in eventually(complete, what=f"{count} lines")]


@pytest.fixture
def site(start, tmp_path):
    def make(app, settings, *arguments, **options):
        return Site(start, tmp_path, app, settings, *arguments, **options)

    return make
