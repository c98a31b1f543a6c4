"""Sessions on the server, to be called by the factory of the application."""

import redis
from flask import Flask
from flask_session import Session


def keep_sessions_on_the_server(app: Flask) -> None:
    app.config.update(
        SESSION_TYPE="redis",
        SESSION_REDIS=redis.from_url("redis://127.0.0.1:6379/1"),
        SESSION_COOKIE_SECURE=True,
        SESSION_COOKIE_HTTPONLY=True,
    )
    Session(app)
