"""Notes with attachments: a Flask application with SQLite, sessions, uploads and a JSON API."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import api
import pages
import storage
from flask import Flask, render_template, request

try:
    from lockgate.sessions.flask_middleware import MiddlewareSessionInterface
except ImportError:  # Under another server Flask's own sessions are used.
    MiddlewareSessionInterface = None

HERE = Path(__file__).resolve().parent
UPLOAD_LIMIT = 512 * 1024 * 1024


def create_app(database: str | None = None, uploads: str | None = None) -> Flask:
    """The application. Paths that are not given lie in `instance/` beside this file."""
    instance = HERE / "instance"
    database_path = Path(database) if database else instance / "notes.sqlite3"
    uploads_path = Path(uploads) if uploads else instance / "uploads"
    storage.prepare(database_path, uploads_path)

    app = Flask(__name__, instance_path=str(instance))
    app.config.update(
        DATABASE=database_path,
        UPLOADS=uploads_path,
        SECRET_KEY=shared_secret(database_path.parent / "secret_key"),
        SESSION_COOKIE_SAMESITE="Lax",
        MAX_CONTENT_LENGTH=UPLOAD_LIMIT,
    )
    if MiddlewareSessionInterface:
        # With [session] in the server's settings (site.toml) the sessions are the server's.
        app.session_interface = MiddlewareSessionInterface()
    app.teardown_appcontext(storage.close)
    app.register_blueprint(pages.blueprint)
    app.register_blueprint(api.blueprint)
    for status in (403, 404, 405, 413):
        app.register_error_handler(status, show_error)
    return app


def show_error(error):
    # A 405 names the methods that there are.
    methods = getattr(error, "valid_methods", None)
    headers = {"Allow": ", ".join(methods)} if methods else {}
    if request.path.startswith("/api/"):
        return {"error": error.description}, error.code, headers
    return render_template("error.html", error=error), error.code, headers


def shared_secret(path: Path) -> bytes:
    """The key that signs sessions: made once, and the same for every worker and every start."""
    if not path.exists():
        descriptor, written = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(32))
        try:
            # A link appears complete or not at all, and only the first worker's does.
            os.link(written, path)
        except FileExistsError:
            pass
        os.unlink(written)
    return path.read_bytes()


app = create_app()
