"""A Flask application that logs through the handlers of gunicorn, as many guides show it."""

import logging

from flask import Flask, jsonify

app = Flask(__name__)

gunicorn_logger = logging.getLogger("gunicorn.error")
app.logger.handlers = gunicorn_logger.handlers
app.logger.setLevel(gunicorn_logger.level)

access_logger = logging.getLogger("gunicorn.access")


@app.get("/")
def facts():
    app.logger.debug("a debug line")
    app.logger.info("an info line of %s", "the view")
    app.logger.warning("two\nlines and \x1b[31m")
    access_logger.info('a line "of" the\napplication')
    return jsonify(
        handlers=len(gunicorn_logger.handlers),
        level=gunicorn_logger.level,
        propagate=gunicorn_logger.propagate,
        access_handlers=len(access_logger.handlers),
    )


@app.get("/fail")
def fail():
    try:
        {}["missing"]
    except KeyError:
        app.logger.exception("the view has failed")
    return "", 204


@app.get("/own-format")
def own_format():
    handler = gunicorn_logger.handlers[0]
    before = handler.formatter
    handler.setFormatter(logging.Formatter("%(levelname)s|%(name)s|%(message)s"))
    app.logger.warning("formatted by the application")
    handler.setFormatter(before)
    return "", 204


@app.get("/strange")
def strange():
    app.logger.warning("lone surrogate \udcff")
    app.logger.warning("wrong arguments %d", "not a number")
    return "", 204
