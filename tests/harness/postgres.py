"""A private PostgreSQL server with default settings, on a unix socket in a temporary directory."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from harness.patience import eventually
from harness.requirements import require_module, require_program

# Debian keeps the server's programs out of PATH.
DIRECTORIES = tuple(str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin")))
PORT = 5432


class Postgres:
    """`initdb` and `postgres`; `end` stops the server and removes its files."""

    def __init__(self) -> None:
        require_module("psycopg")
        initdb = require_program("initdb", package="postgresql", directories=DIRECTORIES)
        server = require_program("postgres", package="postgresql", directories=DIRECTORIES)
        # Not pytest's directory: other users cannot enter it, and the path of a unix socket is
        # limited to 107 bytes.
        self.directory = Path(tempfile.mkdtemp(prefix="pg-"))
        self._user = _user()
        if self._user is not None:
            shutil.chown(self.directory, self._user)
        self.directory.chmod(0o755)
        data = self.directory / "data"
        self._run(
            [initdb, "-D", str(data), "-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8"]
        )
        self.log_path = self.directory / "log"
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                # As after an installation, except for fsync: max_connections = 100.
                [server, "-D", str(data), "-k", str(self.directory), "-h", "", "-F"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._user,
                cwd="/",
                env=self._environment(),
            )
        eventually(self._is_ready, within=60, what="PostgreSQL takes connections")

    @property
    def dsn(self) -> str:
        return f"host={self.directory} port={PORT} user=postgres dbname=postgres"

    def connections(self) -> int:
        """Client connections, without the one that asks."""
        import psycopg

        count = (
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        # A slot is reserved for superusers.
        with psycopg.connect(self.dsn) as connection:
            row = connection.execute(count).fetchone()
        assert row is not None
        return int(row[0])

    @property
    def log(self) -> str:
        return self.log_path.read_text("utf-8", "backslashreplace")

    def end(self) -> None:
        if self.process.poll() is None:
            # "Immediate shutdown": ends the child processes; there is no data to keep.
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(30)
        shutil.rmtree(self.directory)

    def _is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"PostgreSQL ended with {self.process.returncode}:\n{self.log}")
        return "ready to accept connections" in self.log

    def _run(self, command: list[str]) -> None:
        subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            user=self._user,
            cwd="/",
            env=self._environment(),
        )

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        return {**kept, "HOME": str(self.directory), "LC_ALL": "C"}


def _user() -> str | None:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
