"""Flask with the sessions of the middleware."""

import pytest

pytest.importorskip("flask", reason="flask is not installed")

from flask import Flask, flash, get_flashed_messages, session  # noqa: E402
from lockgate.sessions import SessionMiddleware  # noqa: E402
from lockgate.sessions.flask_middleware import MiddlewareSessionInterface  # noqa: E402

SECRET = "0123456789abcdef0123456789abcdef"


def site():
    app = Flask(__name__)
    app.secret_key = "flask's own"
    app.session_interface = MiddlewareSessionInterface()

    @app.get("/add/<item>")
    def add(item):
        session.setdefault("basket", []).append(item)
        flash(f"added {item}")
        return session["basket"]

    @app.get("/read")
    def read():
        return {
            "basket": session.get("basket"),
            "messages": get_flashed_messages(),
            "new": session.new,
        }

    @app.get("/login")
    def login():
        session.renew()
        session.permanent = True
        session["user"] = "ann"
        return sorted(session)

    @app.get("/logout")
    def logout():
        session.clear()
        return ""

    return app


def test_the_middleware_keeps_what_flask_puts_into_its_session():
    app = site()
    app.wsgi_app = SessionMiddleware(app.wsgi_app, secret=SECRET)
    client = app.test_client()
    assert client.get("/add/tea").json == ["tea"]
    first = client.get_cookie("session").value
    assert client.get("/add/milk").json == ["tea", "milk"]
    assert client.get("/read").json == {
        "basket": ["tea", "milk"],
        "messages": ["added tea", "added milk"],
        "new": False,
    }
    assert client.get("/read").json["messages"] == []
    response = client.get("/login")
    assert response.json == ["basket", "user"]
    assert "Max-Age=" in response.headers["Set-Cookie"]
    assert client.get_cookie("session").value != first
    client.get("/logout")
    assert client.get_cookie("session") is None
    assert client.get("/read").json["new"] is True


def test_without_the_middleware_flask_has_its_own_sessions():
    client = site().test_client()
    app = client.application
    app.add_url_rule("/plain", view_func=lambda: session.setdefault("basket", ["tea"]))
    assert client.get("/plain").json == ["tea"]
    value = client.get_cookie("session").value
    serializer = MiddlewareSessionInterface().get_signing_serializer(app)
    assert serializer.loads(value) == {"basket": ["tea"]}
