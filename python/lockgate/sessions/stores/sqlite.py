"""Sessions in an SQLite database, which the processes of one host share."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lockgate.sessions.record import Changes, Record, StoreUnavailable, dumps

# Seconds between two removals of expired sessions by one process.
CLEANING_INTERVAL = 60

SCHEMA = """
CREATE TABLE IF NOT EXISTS lockgate_sessions (
    key TEXT PRIMARY KEY, created INTEGER NOT NULL, used INTEGER NOT NULL,
    persistent INTEGER NOT NULL, expires INTEGER NOT NULL, data TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS lockgate_sessions_expires ON lockgate_sessions (expires);
"""


class SQLiteStore:
    """A table in the database file at a path, which is made if it is missing."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.path.abspath(os.fspath(path))
        self._local = threading.local()
        # Connections of a process before its fork: SQLite forbids to use or close them here.
        self._inherited: list[sqlite3.Connection] = []
        self._cleaned = 0.0
        # Only the user of the server may read what users have in their sessions.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = self._connect(5)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(SCHEMA)
        finally:
            connection.close()

    def load(self, key: str, timeout: float) -> Record | None:
        with self._connection(timeout) as connection:
            row = connection.execute(
                "SELECT created, used, persistent, data FROM lockgate_sessions WHERE key = ?",
                (key,),
            ).fetchone()
        return None if row is None else Record(row[0], row[1], bool(row[2]), json.loads(row[3]))

    def create(self, key: str, record: Record, ttl: int, timeout: float) -> None:
        now = time.time()
        with self._transaction(timeout) as connection:
            if now - self._cleaned >= CLEANING_INTERVAL:
                self._cleaned = now
                connection.execute("DELETE FROM lockgate_sessions WHERE expires <= ?", (int(now),))
            connection.execute(
                "INSERT INTO lockgate_sessions VALUES (?, ?, ?, ?, ?, ?)",
                (key, *_times(record), int(now) + ttl, dumps(record.data)),
            )

    def update(
        self, key: str, new_key: str, times: Record, changes: Changes, ttl: int, timeout: float
    ) -> bool:
        with self._transaction(timeout) as connection:
            row = connection.execute(
                "SELECT data FROM lockgate_sessions WHERE key = ?", (key,)
            ).fetchone()
            if row is None:
                return False
            data = json.loads(row[0])
            for name in changes.removed:
                data.pop(name, None)
            data.update((name, json.loads(text)) for name, text in changes.assigned.items())
            connection.execute(
                "UPDATE lockgate_sessions SET key = ?, created = ?, used = ?, persistent = ?,"
                " expires = ?, data = ? WHERE key = ?",
                (new_key, *_times(times), int(time.time()) + ttl, dumps(data), key),
            )
        return True

    def delete(self, key: str, timeout: float) -> None:
        with self._transaction(timeout) as connection:
            connection.execute("DELETE FROM lockgate_sessions WHERE key = ?", (key,))

    @contextmanager
    def _connection(self, timeout: float) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._of_this_thread()
            connection.execute(f"PRAGMA busy_timeout = {max(int(timeout * 1000), 1)}")
            yield connection
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self._path}: {error}") from None

    @contextmanager
    def _transaction(self, timeout: float) -> Iterator[sqlite3.Connection]:
        with self._connection(timeout) as connection:
            # IMMEDIATE: the lock comes first, so that what is read is still so when it is written.
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def _of_this_thread(self) -> sqlite3.Connection:
        kept: tuple[int, sqlite3.Connection] | None = getattr(self._local, "kept", None)
        if kept is not None and kept[0] == os.getpid():
            return kept[1]
        if kept is not None:
            self._inherited.append(kept[1])
        connection = self._connect(1)
        connection.execute("PRAGMA synchronous = NORMAL")
        self._local.kept = (os.getpid(), connection)
        return connection

    def _connect(self, timeout: float) -> sqlite3.Connection:
        # Autocommit: transactions begin where the code says.
        return sqlite3.connect(self._path, timeout=timeout, isolation_level=None)


def _times(record: Record) -> tuple[int, int, int]:
    return record.created, record.used, int(record.is_persistent)
