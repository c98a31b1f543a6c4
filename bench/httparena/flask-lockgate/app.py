"""The endpoints of HttpArena's profiles as a Flask application."""

import json
import os
import time
from pathlib import Path

import psycopg
from flask import Flask, abort, request
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

import uwsgi

DATASET = json.loads(Path("/data/dataset.json").read_text())
MOST_ITEMS = 50
# PUT removes an entry; without one a client may see a row this old.
FRESH_SECONDS = 0.2
ROW = "id, name, category, price, quantity, active, tags, rating_score, rating_count"

app = Flask(__name__, static_folder=None)


def open_pool() -> ConnectionPool | None:
    """The pool of this worker: its share of the connections that the database admits."""
    url = os.environ.get("DATABASE_URL")
    if not url:
        return None
    limit = int(os.environ.get("DATABASE_MAX_CONN", "256"))
    return ConnectionPool(
        url.replace("postgres://", "postgresql://", 1),
        min_size=1,
        max_size=max(1, limit * 9 // 10 // uwsgi.numproc),
        kwargs={"row_factory": dict_row, "autocommit": True},
        open=True,
    )


pool = open_pool()


@app.get("/pipeline")
def pipeline():
    return "ok", {"Content-Type": "text/plain"}


@app.route("/baseline11", methods=["GET", "POST"])
def baseline():
    total = request.args.get("a", 0, int) + request.args.get("b", 0, int)
    if request.method == "POST":
        total += int(request.get_data(as_text=True) or 0)
    return str(total), {"Content-Type": "text/plain"}


@app.get("/baseline2")
def baseline2():
    total = request.args.get("a", 0, int) + request.args.get("b", 0, int)
    return str(total), {"Content-Type": "text/plain"}


@app.get("/json/<int:count>")
def document(count):
    factor = request.args.get("m", 1, int)
    items = [
        item | {"total": item["price"] * item["quantity"] * factor} for item in DATASET[:count]
    ]
    return {"items": items, "count": len(items)}


@app.post("/upload")
def upload():
    size = 0
    while piece := request.stream.read(256 * 1024):
        size += len(piece)
    return str(size), {"Content-Type": "text/plain"}


@app.get("/async-db")
def items_by_price():
    lowest, highest = request.args.get("min", 10, int), request.args.get("max", 50, int)
    limit = min(max(request.args.get("limit", 50, int), 1), MOST_ITEMS)
    if pool is None:
        return {"items": [], "count": 0}
    query = f"SELECT {ROW} FROM items WHERE price BETWEEN %s AND %s LIMIT %s"
    try:
        with pool.connection() as connection:
            rows = connection.execute(query, (lowest, highest, limit)).fetchall()
    except psycopg.Error:
        app.logger.exception("the database gives no items")
        rows = []
    return {"items": [as_item(row) for row in rows], "count": len(rows)}


@app.get("/crud/items")
def list_items():
    category = request.args.get("category", "electronics")
    page = max(request.args.get("page", 1, int), 1)
    limit = min(max(request.args.get("limit", 10, int), 1), MOST_ITEMS)
    query = f"SELECT {ROW} FROM items WHERE category = %s ORDER BY id LIMIT %s OFFSET %s"
    with pool.connection() as connection:
        rows = connection.execute(query, (category, limit, (page - 1) * limit)).fetchall()
    return {
        "items": [as_item(row) for row in rows],
        "total": len(rows),
        "page": page,
        "limit": limit,
    }


@app.get("/crud/items/<int:number>")
def read_item(number):
    if text := cached(number):
        return app.response_class(text, headers={"X-Cache": "HIT"}, mimetype="application/json")
    with pool.connection() as connection:
        row = connection.execute(f"SELECT {ROW} FROM items WHERE id = %s", (number,)).fetchone()
    if row is None:
        abort(404)
    text = app.json.dumps(as_item(row)).encode()
    keep(number, text)
    return app.response_class(text, headers={"X-Cache": "MISS"}, mimetype="application/json")


@app.post("/crud/items")
def create_item():
    given = request.get_json()
    query = (
        f"INSERT INTO items ({ROW}) VALUES (%s, %s, %s, %s, %s, true, %s, 0, 0)"
        " ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name, category = EXCLUDED.category,"
        " price = EXCLUDED.price, quantity = EXCLUDED.quantity"
        f" RETURNING {ROW}"
    )
    values = [given[name] for name in ("id", "name", "category", "price", "quantity")]
    with pool.connection() as connection:
        row = connection.execute(query, (*values, Jsonb([]))).fetchone()
    forget(row["id"])
    return as_item(row), 201


@app.put("/crud/items/<int:number>")
def update_item(number):
    given = request.get_json()
    query = f"UPDATE items SET name = %s, price = %s, quantity = %s WHERE id = %s RETURNING {ROW}"
    values = (given["name"], given["price"], given["quantity"], number)
    with pool.connection() as connection:
        row = connection.execute(query, values).fetchone()
    if row is None:
        abort(404)
    forget(number)
    return as_item(row)


def as_item(row):
    rating = {"score": row.pop("rating_score"), "count": row.pop("rating_count")}
    return row | {"rating": rating}


# The cache is memory that all workers share. It counts whole seconds, so an entry has its own time.


def cached(number: int) -> bytes | None:
    entry = uwsgi.cache_get(str(number), "items")
    if entry is None:
        return None
    until, _, text = entry.partition(b" ")
    return text if time.monotonic() < float(until) else None


def keep(number: int, text: bytes) -> None:
    until = time.monotonic() + FRESH_SECONDS
    uwsgi.cache_update(str(number), b"%.6f %s" % (until, text), 1, "items")


def forget(number: int) -> None:
    uwsgi.cache_del(str(number), "items")
