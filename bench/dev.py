"""From a save to the new answer: development servers side by side. `.venv/bin/python bench/dev.py`.

Each server serves a small project of Flask or Django in a directory of its own. A save writes a
module that the application imports, and a client asks on a new connection every few milliseconds
until the answer is the new one. All servers run at the same time, in turns from the first and from
the last, and the pause before a save is random, because some of them look at files once a second.
"""

from __future__ import annotations

import argparse
import http.client
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from process import free_port

ROOT = Path(__file__).parent.parent
BIN = ROOT / ".venv" / "bin"
START_SECONDS = 60.0
ANSWER_SECONDS = 30.0
BETWEEN_REQUESTS = 0.005

FLASK = {
    "app.py": """
from flask import Flask
import answer

app = Flask(__name__)

@app.get("/")
def index():
    return answer.TEXT
""",
}
DJANGO = {
    "manage.py": """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
""",
    "settings.py": """
SECRET_KEY = "bench"
DEBUG = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "urls"
WSGI_APPLICATION = "wsgi.application"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "APP_DIRS": True,
    "OPTIONS": {"context_processors": [
        "django.template.context_processors.request",
        "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    ]},
}]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
STATIC_URL = "/static/"
""",
    "urls.py": """
from django.contrib import admin
from django.http import HttpResponse
from django.urls import path
import answer

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", lambda request: HttpResponse(answer.TEXT)),
]
""",
    "wsgi.py": """
import os
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()
""",
}

#: The project and the command of each server; PORT stands for its port.
SERVERS = {
    "flask run": (FLASK, f"{BIN}/flask --app app run --debug --port PORT"),
    "gunicorn --reload (Flask)": (
        FLASK,
        f"{BIN}/python -m gunicorn --reload -b 127.0.0.1:PORT app:app",
    ),
    "lockgate dev (Flask)": (FLASK, f"{BIN}/lockgate dev --port PORT"),
    "lockgate --reload (Flask)": (
        FLASK,
        f"{BIN}/lockgate --reload -w 1 -b 127.0.0.1:PORT app:app",
    ),
    "runserver": (DJANGO, f"{BIN}/python manage.py runserver 127.0.0.1:PORT"),
    "gunicorn --reload (Django)": (
        DJANGO,
        f"{BIN}/python -m gunicorn --reload -b 127.0.0.1:PORT wsgi",
    ),
    "lockgate dev (Django)": (DJANGO, f"{BIN}/lockgate dev --port PORT"),
    "lockgate --reload (Django)": (
        DJANGO,
        f"{BIN}/lockgate --reload -w 1 -b 127.0.0.1:PORT wsgi:application",
    ),
}


@dataclass
class Run:
    """One server, and what its client saw."""

    name: str
    directory: Path
    port: int
    process: subprocess.Popen[bytes]
    seconds: list[float] = field(default_factory=list)
    requests: int = 0
    refused: int = 0
    longest: float = 0.0
    lines_before: int = 0
    version: int = 0

    @property
    def lines(self) -> int:
        return (self.directory / "output").read_bytes().count(b"\n")

    def ask(self) -> str | None:
        """The answer, or None if there is none with status 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)
        try:
            connection.request("GET", "/", headers={"Connection": "close"})
            response = connection.getresponse()
            body = response.read().decode()
            return body if response.status == 200 else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def save(self) -> None:
        """Writes the module in place, each time with another length."""
        self.version += 1
        text = f'TEXT = "{self.version}"  #{"." * self.version}\n'
        (self.directory / "answer.py").write_text(text)

    def measure(self) -> None:
        start = time.monotonic()
        self.save()
        while True:
            asked = time.monotonic()
            answer = self.ask()
            now = time.monotonic()
            self.requests += 1
            self.longest = max(self.longest, now - asked)
            self.refused += answer is None
            if answer == str(self.version):
                self.seconds.append(now - start)
                return
            if now - start > ANSWER_SECONDS:
                raise SystemExit(f"{self.name} has not served version {self.version}")
            time.sleep(BETWEEN_REQUESTS)


def start(name: str, directory: Path) -> Run:
    files, command = SERVERS[name]
    directory.mkdir()
    for file, text in files.items():
        (directory / file).write_text(text)
    port = free_port()
    # gunicorn has a place of its own, so that no other test meets it.
    environment = os.environ | {"PYTHONPATH": str(ROOT / ".venv" / "gunicorn")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    if "gunicorn" not in name:
        del environment["PYTHONPATH"]
    with (directory / "output").open("wb") as output:
        (directory / "answer.py").write_text('TEXT = "0"\n')
        process = subprocess.Popen(
            command.replace("PORT", str(port)).split(),
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    run = Run(name, directory, port, process)
    deadline = time.monotonic() + START_SECONDS
    while run.ask() != "0":
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{name} does not serve:\n{(directory / 'output').read_text()}")
        time.sleep(0.05)
    return run


def stop(run: Run) -> None:
    with suppress(ProcessLookupError):
        os.killpg(run.process.pid, signal.SIGTERM)
    try:
        run.process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(run.process.pid, signal.SIGKILL)
        run.process.wait()


def row(run: Run) -> str:
    saves = len(run.seconds)
    times = sorted(run.seconds)
    answered = (run.requests - run.refused) * logs_requests(run)
    lines = (run.lines - run.lines_before - answered) / saves
    figures = [
        f"{median(times) * 1000:.0f} ms",
        f"{times[0] * 1000:.0f}..{times[-1] * 1000:.0f} ms",
        f"{run.refused} of {run.requests}",
        f"{run.longest * 1000:.0f} ms",
        f"{lines:.1f}",
    ]
    return f"| {run.name} | {' | '.join(figures)} |"


def logs_requests(run: Run) -> bool:
    """Whether each request has a line, which is no noise."""
    return run.name in ("flask run", "runserver") or "lockgate dev" in run.name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--saves", type=int, default=50)
    parser.add_argument("--servers", default=",".join(SERVERS), help="names, with commas between")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    pauses = random.Random(options.seed)
    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as place:
        try:
            for number, name in enumerate(options.servers.split(",")):
                runs.append(start(name, Path(place) / str(number)))
            for run in runs:
                # What it imports late is imported now.
                run.measure()
                run.seconds.clear()
                run.requests = run.refused = 0
                run.longest = 0.0
            time.sleep(1)
            for run in runs:
                run.lines_before = run.lines
            for saves in range(options.saves):
                for run in runs if saves % 2 == 0 else reversed(runs):
                    time.sleep(pauses.uniform(0.3, 1.3))
                    run.measure()
                print(f"{saves + 1} of {options.saves} saves", end="\r", file=sys.stderr)
            time.sleep(1)
            print(
                "| server | save to answer: median | min..max | not answered | longest wait |",
                end="",
            )
            print(" lines a save |\n|---|---|---|---|---|---|")
            for run in runs:
                print(row(run))
        finally:
            for run in runs:
                stop(run)


if __name__ == "__main__":
    main()
