"""Counts visits in PostgreSQL, and the visits of a client in Redis."""

import os
from functools import cache
from pathlib import Path

from flask import Flask, request
from psycopg_pool import ConnectionPool
from redis import Redis

app = Flask(__name__)


@cache
def database() -> ConnectionPool:
    # At the first use, so that each worker has connections of its own.
    password = Path(os.environ["DATABASE_PASSWORD_FILE"]).read_text("utf-8").strip()
    url = os.environ["DATABASE_URL"]
    return ConnectionPool(url, kwargs={"password": password}, min_size=1, max_size=8, open=True)


@cache
def memory() -> Redis:
    return Redis.from_url(os.environ["REDIS_URL"])


@app.get("/")
def visit():
    with database().connection() as connection:
        row = connection.execute("INSERT INTO visit DEFAULT VALUES RETURNING id").fetchone()
    own = memory().incr(f"visits:{request.remote_addr}")
    return f"visit {row[0]}, {own} of them yours\n"


@app.cli.command("migrate")
def migrate():
    """Creates the table."""
    with database().connection() as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS visit ("
            " id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
            " at timestamptz NOT NULL DEFAULT now())"
        )
    database().close()
