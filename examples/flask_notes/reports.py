"""How many notes each author has: a small application beside the notes, for their owner."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from flask import Flask, render_template_string, request

DATABASE = Path(__file__).resolve().parent / "instance" / "notes.sqlite3"
PAGE = """<!doctype html>
<html lang="en">
<title>Reports</title>
<link rel="icon" href="data:,">
<style>
  body { font: 16px/1.5 system-ui; max-width: 40rem; margin: 3rem auto; padding: 0 1rem }
  table { border-collapse: collapse; width: 100% }
  td, th { text-align: left; border-bottom: 1px solid #ddd; padding: .4rem }
</style>
<h1>Notes by author</h1>
{% if user %}<p>For {{ user }}.</p>{% endif %}
<table>
  <tr><th>Author<th>Notes<th>Last change</tr>
  {% for author, count, changed in rows %}<tr><td>{{ author }}<td>{{ count }}<td>{{ changed }}</tr>
  {% else %}<tr><td colspan="3">There are no notes.</tr>{% endfor %}
</table>
</html>
"""
COUNTS = "SELECT author, count(*), max(changed) FROM note GROUP BY author ORDER BY author"

app = Flask(__name__, static_folder=None)


@app.get("/")
def index():
    connection = sqlite3.connect(f"file:{DATABASE}?mode=ro", uri=True, timeout=30)
    try:
        rows = connection.execute(COUNTS).fetchall()
    finally:
        connection.close()
    return render_template_string(PAGE, rows=rows, user=request.remote_user)
