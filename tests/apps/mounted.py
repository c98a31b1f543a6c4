"""An application that says what it sees of its mount, and where and how it was imported.

`NAME` in the process environment at its import names it. A factory is called for each mount.
"""

import decimal
import json
import os
import sys

SHOWN = ("SCRIPT_NAME", "PATH_INFO", "REQUEST_URI", "NAME", "HTTP_NAME")

AT_IMPORT = {"cwd": os.getcwd(), "name": os.environ.get("NAME"), "first": sys.path[0]}
if "PRECISION" in os.environ:
    decimal.getcontext().prec = int(os.environ["PRECISION"])


def create_app(name=None):
    made = {"cwd": os.getcwd(), "name": name or os.environ.get("NAME")}

    def app(environ, start_response):
        seen = {key: environ[key] for key in SHOWN if key in environ}
        now = {
            "cwd": os.getcwd(),
            "name": os.environ.get("NAME"),
            "first": sys.path[0],
            "precision": decimal.getcontext().prec,
        }
        parts = {"seen": seen, "import": AT_IMPORT, "made": made, "now": now, "app": id(app)}
        body = json.dumps(parts).encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    return app


app = create_app()
