"""Loggers as configurations for gunicorn define them."""

import json
import logging
import os
import time

from gunicorn.glogging import Logger


class Recording(Logger):
    """Writes what its methods are called with, skips /health, and has an atom of its own."""

    def setup(self, cfg):
        super().setup(cfg)
        handler = self.error_log.handlers[0]
        handler.setFormatter(logging.Formatter("own|%(levelname)s|%(message)s"))
        self.info("set up for %s", cfg.loglevel)

    def atoms(self, resp, req, environ, request_time):
        atoms = super().atoms(resp, req, environ, request_time)
        atoms["z"] = f"{resp.status}|{resp.sent}|{resp.response_length}|{req.method}"
        return atoms

    def access(self, resp, req, environ, request_time):
        if req.path != "/health":
            super().access(resp, req, environ, request_time)


class Broken(Logger):
    def access(self, resp, req, environ, request_time):
        raise ValueError("the access method is broken")


class JsonFormatter(logging.Formatter):
    """Reads the atoms from the record, as formatters for gunicorn do."""

    def format(self, record):
        atoms = record.args
        return json.dumps(
            {"method": atoms["m"], "status": atoms["s"], "agent": atoms["{user-agent}i"]}
        )


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/raise":
        raise RuntimeError("from the application")
    if path == "/file":
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](open(__file__, "rb"))
    if path == "/stream":
        start_response("200 OK", [])
        return (piece for piece in (b"a", b"", b"bc"))
    if path == "/slow":
        time.sleep(0.05)
    start_response("200 OK", [("Content-Length", "5"), ("X-Pid", str(os.getpid()))])
    return [b"hello"]


def with_filter(environ, start_response):
    return app(environ, start_response)


def filtered():
    """A factory: the application drops the records of health checks, as many do."""

    class NoHealth(logging.Filter):
        def filter(self, record):
            return "/health" not in record.getMessage()

    logging.getLogger("gunicorn.access").addFilter(NoHealth())
    return app
