"""Its import waits for a file and does as it says; each path shows what the environment holds."""

import json
import os
import time
from pathlib import Path

GATE = os.environ.get("IMPORT_GATE")


def wait_for(gate):
    deadline = time.monotonic() + 30
    while not gate.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    word = gate.read_text()
    if word != "open":
        raise ImportError(word)


def is_first(mark):
    """Whether this is the first worker, which continues where the others wait."""
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


if GATE and not is_first(Path(GATE + ".first")):
    wait_for(Path(GATE))


def app(environ, start_response):
    if environ["PATH_INFO"] == "/environ":
        body = json.dumps({key: environ[key] for key in ("SERVER_NAME", "SERVER_PORT")})
    else:
        body = json.dumps(dict(os.environ))
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body.encode()]
