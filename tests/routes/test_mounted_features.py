"""What the server does for an application it does for a mounted one as well."""

import json
import sys
import time

import pytest
from harness import APPS, eventually, free_port, run
from harness.hosts import get_of
from harness.requirements import require_module

TEMPLATE = """
app = "mounted:app"
chdir = "{apps}"
{settings}

[[mount]]
path = "/deep/mount"
app = "{app}"
{keys}
"""


@pytest.fixture
def mount(tmp_path, start):
    """Starts a server with an application of the tests at /deep/mount."""

    def serve(app, *arguments, settings="", keys="", **options):
        text = TEMPLATE.format(apps=APPS, app=app, settings=settings, keys=keys)
        (tmp_path / "lockgate.toml").write_text(text)
        return start("mounted:app", *arguments, chdir=tmp_path, **options)

    return serve


def test_a_late_request_of_a_mount_is_interrupted(mount):
    require_module("lockgate")
    limits = ("--request-timeout", "1", "--slow-request", "0.3", "--threads", "2")
    server = mount("late:app", *limits)
    began = time.monotonic()
    with server.connect() as wire:
        wire.send(b"GET /deep/mount/spin HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.response().status == 504
    assert time.monotonic() - began < 4
    server.wait_for_log(r"GET /deep/mount/spin .*has taken")
    server.wait_for_log("endless_loop")
    # The thread is free again.
    assert server.get("/").status == 200
    assert server.get("/deep/mount/pid").status == 200


def test_a_mount_takes_a_connection_over(mount):
    server = mount("lasting:app", "--threads", "2")
    with server.connect() as wire:
        wire.send(
            b"GET /deep/mount/echo HTTP/1.1\r\nHost: a\r\n"
            b"Connection: upgrade\r\nUpgrade: echo\r\n\r\n"
        )
        assert wire.head().status == 101
        wire.send(b"ping")
        assert wire.part(4) == b"ping"


UWSGI = """
import uwsgi

def app(environ, start_response):
    uwsgi.set_logvar("mount", environ["SCRIPT_NAME"])
    body = b"%s %d" % (uwsgi.get_logvar("mount"), uwsgi.worker_id())
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def test_the_module_uwsgi_knows_the_request_of_a_mount(mount, tmp_path):
    (tmp_path / "with_uwsgi.py").write_text(UWSGI)
    server = mount("with_uwsgi:app", "--uwsgi-module", keys=f'chdir = "{tmp_path}"')
    assert server.get("/deep/mount/x").body == b"/deep/mount 1"


def test_a_mount_publishes(mount):
    server = mount("publishing:app", "--push")
    body = repr((("news", "text"), {})).encode()
    published = server.post("/deep/mount/", body)
    assert published.status == 200 and b"Error" not in published.body, published.body


HOOKS = """
def record(*words):
    with open("{note}", "a") as note:
        note.write(" ".join(words) + "\\n")

def pre_request(worker, req):
    record("pre", req.path)

def post_request(worker, req, environ, resp):
    record("post", environ["SCRIPT_NAME"], environ["PATH_INFO"], str(resp.status_code))

def post_worker_init(worker):
    record("init", worker.wsgi.__module__)
"""


#: A configuration in Python has no tables, but a program may name both.
PROGRAM = """
import sys
import lockgate

if __name__ == "__main__":
    lockgate.serve(
        "mounted:app",
        config="hooks.py",
        bind=f"127.0.0.1:{sys.argv[1]}",
        chdir=sys.argv[2],
        workers=1,
        mount=[{"path": "/deep/mount", "app": "hello:app"}],
    )
"""


def test_hooks_of_gunicorn_are_called_for_every_application(start, tmp_path):
    note = tmp_path / "note"
    (tmp_path / "hooks.py").write_text(HOOKS.replace("{note}", str(note)))
    (tmp_path / "program.py").write_text(PROGRAM)
    port = free_port()
    server = start(
        "program.py", str(port), str(APPS),
        chdir=tmp_path, program=(sys.executable,), bind=[], workers=None,
    )  # fmt: skip
    server.address = ("127.0.0.1", port)
    assert server.get("/deep/mount/x").status == 200
    assert server.get("/").status == 200
    expected = [
        "init mounted",
        "pre /deep/mount/x",
        "post /deep/mount /x 200",
        "pre /",
        "post  / 200",
    ]
    lines = eventually(
        lambda: (found := note.read_text().splitlines()) and len(found) >= len(expected) and found,
        what="all hooks have run",
    )
    assert lines == expected


WARMED = """
CALLS = []

def app(environ, start_response):
    CALLS.append(environ["SCRIPT_NAME"] + "|" + environ["PATH_INFO"])
    if environ["PATH_INFO"] == "/failing":
        raise RuntimeError("not warm")
    body = ",".join(CALLS).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def test_warm_up_asks_the_application_that_would_get_the_request(mount, tmp_path):
    (tmp_path / "warmed.py").write_text(WARMED)
    server = mount(
        "warmed:app", "--warmup", "/deep/mount/a%20b", "--warmup", "/other",
        keys=f'chdir = "{tmp_path}"',
    )  # fmt: skip
    assert server.get("/deep/mount/c").body == b"/deep/mount|/a b,/deep/mount|/c"


def test_a_mount_that_fails_its_warm_up_keeps_the_worker_from_starting(tmp_path):
    (tmp_path / "warmed.py").write_text(WARMED)
    text = TEMPLATE.format(
        apps=APPS, app="warmed:app", settings='warmup = "/deep/mount/failing"',
        keys=f'chdir = "{tmp_path}"',
    )  # fmt: skip
    (tmp_path / "lockgate.toml").write_text(text)
    outcome = run("mounted:app", "-b", "127.0.0.1:0", chdir=tmp_path)
    assert outcome.returncode == 3
    assert "warmup: /deep/mount/failing" in outcome.stderr and "not warm" in outcome.stderr


STATIC_APP = """
from flask import Flask

app = Flask(__name__, static_folder="files", static_url_path="{url}")

@app.get("/")
def index():
    return "index"
"""


def test_static_auto_serves_the_files_of_each_mount_to_its_requests(tmp_path, start):
    require_module("flask")
    for name in ("one", "two"):
        directory = tmp_path / name
        (directory / "files").mkdir(parents=True)
        (directory / f"{name}_app.py").write_text(STATIC_APP.format(url="/static"))
        (directory / "files" / "a.txt").write_text(name)
    (tmp_path / "lockgate.toml").write_text(
        f"""
        static = "auto"
        chdir = "one"
        [[mount]]
        host = "two.example"
        app = "two_app:app"
        chdir = "{tmp_path}/two"
        [[mount]]
        path = "/two"
        app = "two_app:app"
        chdir = "../two"
        """
    )
    server = start("one_app:app", chdir=tmp_path)
    for _ in range(2):
        for target, host, expected in [
            ("/static/a.txt", "a", b"one"),
            ("/static/a.txt", "two.example", b"two"),
            ("/two/static/a.txt", "a", b"two"),
        ]:
            response = get_of(server, host, target)
            assert (response.status, response.body) == (200, expected), (target, host)
            # Not Flask's.
            assert response.header("Content-Disposition") is None
            assert response.header("ETag")
    logged = server.wait_for_log("static = auto serves .*")
    assert "/two/static" in logged


def test_the_access_log_has_values_of_a_mount(mount):
    server = mount(
        "mounted:app", "--access-logfile", "-", "--access-logformat",
        '{"name": "%({NAME}e)s", "script": "%({SCRIPT_NAME}e)s"}', keys='env = { NAME = "me" }',
    )  # fmt: skip
    assert server.get("/deep/mount/x").status == 200
    line = eventually(lambda: server.output.strip(), what="an access log line")
    assert json.loads(line) == {"name": "me", "script": "/deep/mount"}
