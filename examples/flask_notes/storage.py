"""Where notes and attachments are kept: one SQLite file and a folder.

Every request has a connection of its own, so any number of threads and workers may share the file.
"""

from __future__ import annotations

import fcntl
import hashlib
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from flask import current_app, g

SCHEMA = """
CREATE TABLE IF NOT EXISTS note (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    author TEXT NOT NULL,
    title TEXT NOT NULL,
    body TEXT NOT NULL,
    changed TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%S', 'now'))
);
CREATE TABLE IF NOT EXISTS attachment (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    note INTEGER NOT NULL REFERENCES note (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    stored_as TEXT NOT NULL,
    size INTEGER NOT NULL,
    sha256 TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS attachment_note ON attachment (note);
"""
BLOCK = 256 * 1024


def prepare(database: Path, uploads: Path) -> None:
    """Makes folders and tables where they are missing; several workers may do so at once."""
    database.parent.mkdir(parents=True, exist_ok=True)
    uploads.mkdir(parents=True, exist_ok=True)
    with open(database.with_suffix(".lock"), "w") as lock:
        # Changing the journal mode needs the file for itself, and does not wait for it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        connection = sqlite3.connect(database)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(SCHEMA)
        finally:
            connection.close()


def connection() -> sqlite3.Connection:
    """The connection of this request."""
    if "connection" not in g:
        g.connection = sqlite3.connect(current_app.config["DATABASE"], timeout=30)
        g.connection.row_factory = sqlite3.Row
        g.connection.execute("PRAGMA foreign_keys = ON")
        g.connection.execute("PRAGMA synchronous = NORMAL")
    return g.connection


def close(_error: BaseException | None = None) -> None:
    opened = g.pop("connection", None)
    if opened is not None:
        opened.close()


def notes() -> list[sqlite3.Row]:
    """All notes, the newest first, with the number of their attachments."""
    return connection().execute(
        "SELECT note.*, (SELECT count(*) FROM attachment WHERE note = note.id) AS attachments"
        " FROM note ORDER BY note.id DESC"
    ).fetchall()  # fmt: skip


def each_note() -> Iterator[sqlite3.Row]:
    """All notes, the oldest first, without ever holding all of them."""
    yield from connection().execute("SELECT * FROM note ORDER BY id")


def note(number: int) -> sqlite3.Row | None:
    return connection().execute("SELECT * FROM note WHERE id = ?", (number,)).fetchone()


def create_note(author: str, title: str, body: str) -> int:
    with connection() as transaction:
        return transaction.execute(
            "INSERT INTO note (author, title, body) VALUES (?, ?, ?)", (author, title, body)
        ).lastrowid


def change_note(number: int, title: str, body: str) -> None:
    with connection() as transaction:
        transaction.execute(
            "UPDATE note SET title = ?, body = ?,"
            " changed = strftime('%Y-%m-%d %H:%M:%S', 'now') WHERE id = ?",
            (title, body, number),
        )


def delete_note(number: int) -> bool:
    """Deletes a note and its files; False when there is none."""
    files = [path_of(attachment) for attachment in attachments(number)]
    with connection() as transaction:
        deleted = transaction.execute("DELETE FROM note WHERE id = ?", (number,)).rowcount > 0
    for path in files:
        path.unlink(missing_ok=True)
    return deleted


def attachments(note_number: int) -> list[sqlite3.Row]:
    return connection().execute(
        "SELECT * FROM attachment WHERE note = ? ORDER BY id", (note_number,)
    ).fetchall()  # fmt: skip


def attachment(number: int) -> sqlite3.Row | None:
    return connection().execute("SELECT * FROM attachment WHERE id = ?", (number,)).fetchone()


def path_of(row: sqlite3.Row) -> Path:
    return current_app.config["UPLOADS"] / row["stored_as"]


def attach(note_number: int, name: str, stream: BinaryIO) -> str:
    """Copies `stream` to disk by blocks; gives its SHA-256. The name is never used as a path."""
    stored_as = uuid.uuid4().hex
    path = current_app.config["UPLOADS"] / stored_as
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("xb") as file:
            while block := stream.read(BLOCK):
                file.write(block)
                digest.update(block)
                size += len(block)
        with connection() as transaction:
            transaction.execute(
                "INSERT INTO attachment (note, name, stored_as, size, sha256)"
                " VALUES (?, ?, ?, ?, ?)",
                (note_number, name, stored_as, size, digest.hexdigest()),
            )
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return digest.hexdigest()
