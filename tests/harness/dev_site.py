"""A site that a test saves: an application in a directory, served with the middleware of
`lockgate dev`. A save is a new file and the signal that the watcher sends."""

import os
import signal
from pathlib import Path

from lockgate.dev.options import VARIABLE, Options

PRELUDE = """\
import os
from flask import Flask, Response, request
from lockgate.dev.middleware import wrap
from lockgate.dev.options import from_environment

flask = Flask(__name__)
flask.debug = True
"""
END = """
app = wrap(flask, from_environment(os.environ))
"""

#: Long enough to be scrolled.
PAGE = """\
<!doctype html><html lang="en"><head><title>{version}</title></head>
<body><h1>Version {version}</h1>{lines}</body></html>
"""


def page(version):
    return PAGE.format(version=version, lines="<p>A line</p>" * 200)


class Site:
    def __init__(self, start, directory: Path, text: str, options: Options, *arguments: str):
        self.path = directory / "site_app.py"
        self.save(text)
        self.server = start(
            "site_app:app",
            "--push",
            "--access-logfile", "-",
            "--access-logformat", options.access_logformat,
            *arguments,
            chdir=directory,
            environment={VARIABLE: options.to_json(), "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip

    def save(self, text: str) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(PRELUDE + text + END)
        os.replace(new, self.path)

    def reload(self, text: str) -> None:
        self.save(text)
        self.server.signal(signal.SIGHUP)
