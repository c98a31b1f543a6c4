"""`lockgate ctl profile` and `/profile`: what is asked for, refused and written."""

import http.server
import socketserver
import threading
import urllib.parse

import pytest
from harness import Wire, request, run
from harness.admin import Admin

BODY = "Profile of wörker 0\n"


@pytest.fixture
def listener(tmp_path):
    """An admin listener of the test: the paths that it was asked for, and its next answer."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            assert self.headers["Lockgate-Action"]
            server.asked.append(self.path)
            status, body = server.answer
            self.send_response(status)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def address_string(self):
            return "unix"

    server = socketserver.ThreadingUnixStreamServer(str(tmp_path / "admin"), Handler)
    server.asked, server.answer = [], (200, BODY)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
    yield server
    server.shutdown()
    server.server_close()


def ctl(directory, *arguments):
    return run("ctl", "profile", "--admin", f"unix:{directory}/admin", *arguments, chdir=directory)


@pytest.mark.parametrize(
    ("arguments", "file", "query"),
    [
        ([], "-", {"seconds": "10.0", "rate": "100", "format": "table"}),
        (["-o", "-"], "-", {"seconds": "10.0", "rate": "100", "format": "table"}),
        (
            ["--seconds", "2.5", "--rate", "20", "-o", "a.svg"],
            "a.svg",
            {"seconds": "2.5", "rate": "20", "format": "svg"},
        ),
        (
            ["--cpu", "-o", "a.svg"],
            "a.svg",
            {"seconds": "10.0", "rate": "100", "format": "svg", "first": "cpu"},
        ),
        (
            ["--worker", "3", "--output", "a.json"],
            "a.json",
            {"seconds": "10.0", "rate": "100", "format": "speedscope", "worker": "3"},
        ),
        (["-o", "a.txt"], "a.txt", {"seconds": "10.0", "rate": "100", "format": "table"}),
    ],
)
def test_the_ending_of_the_file_chooses_the_format(listener, tmp_path, arguments, file, query):
    said = ctl(tmp_path, *arguments)
    assert said.returncode == 0, said
    [target] = listener.asked
    path, _, asked = target.partition("?")
    assert path == "/profile" and dict(urllib.parse.parse_qsl(asked)) == query
    if file == "-":
        assert said.stdout == BODY
    else:
        assert (tmp_path / file).read_text() == BODY
        assert said.stdout == f"wrote {file}\n"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--seconds", "0"], "--seconds: must be a number from 0.1 to 600, not 0"),
        (["--seconds", "nan"], "--seconds: must be a number from 0.1 to 600, not nan"),
        (["--rate", "1001"], "--rate: must be a whole number from 1 to 1000, not 1001"),
        (["--rate", "-1"], "--rate"),
        (["--worker", "first"], "--worker: must be the number of a worker, such as 0, not first"),
        (["-o", "a.pdf"], "must end in .svg, .json or .txt, or be -, not a.pdf"),
        (["-o", "svg"], "must end in .svg, .json or .txt, or be -, not svg"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_asked(listener, tmp_path, arguments, part):
    said = ctl(tmp_path, *arguments)
    assert said.returncode == 2 and part in said.stderr, said
    assert listener.asked == []


def test_a_file_that_cannot_be_written_is_refused_before_the_profile(listener, tmp_path):
    (tmp_path / "taken.svg").mkdir()
    for file, part in [
        ("nowhere/a.svg", "cannot write nowhere/a.svg: nowhere is no directory"),
        ("taken.svg", "cannot write taken.svg: taken.svg is a directory"),
    ]:
        said = ctl(tmp_path, "-o", file)
        assert said.returncode == 1 and part in said.stderr, said
    assert listener.asked == []


@pytest.mark.parametrize(
    ("status", "body", "part"),
    [
        (503, "another profile is in progress\n", "another profile is in progress"),
        (501, "no worker can be profiled: \x1b[2J\n", r"no worker can be profiled: \x1b[2J"),
        (404, "worker 9 does not serve\n", "worker 9 does not serve"),
        (404, "try /metrics, /healthz\n", "is a version without profiles"),
        (500, "", "answered 500 to /profile"),
    ],
)
def test_what_the_server_refuses_is_reported(listener, tmp_path, status, body, part):
    listener.answer = (status, body)
    said = ctl(tmp_path, "-o", "a.svg")
    assert said.returncode == 1 and part in said.stderr, said
    assert not (tmp_path / "a.svg").exists()


def ask(admin, target, *headers, method="GET"):
    with Wire(str(admin.path)) as wire:
        wire.send(request(method, target, "Connection: close", *headers, host="localhost"))
        response = wire.response(method)
        wire.expect_close()
    return response.status, response.body.decode()


def test_a_profile_needs_the_header_that_no_page_of_another_origin_can_send(start, tmp_path):
    admin = Admin(start, tmp_path, "gates:app", workers=1)
    action = "Lockgate-Action: test"
    for target, headers, expected in [
        ("/profile", [], (400, "a profile needs the header Lockgate-Action, with any value\n")),
        ("/profile?rate=x", [action], (400, "rate=x: rate must be a number of samples")),
        ("/profile?worker=99", [action], (404, "worker 99 does not serve")),
        ("/profile/", [action], (404, "try /, /metrics")),
    ]:
        status, body = ask(admin, target, *headers)
        assert status == expected[0] and body.startswith(expected[1]), (target, body)
    preflight = ["Origin: http://evil.example", "Access-Control-Request-Headers: lockgate-action"]
    status, _ = ask(admin, "/profile", *preflight, method="OPTIONS")
    assert status in (403, 405), "a preflight request is not allowed"
