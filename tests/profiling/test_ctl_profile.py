"""`lockgate ctl profile` and `/profile`: what is asked for, refused and written."""

import http.server
import os
import resource
import socketserver
import stat
import subprocess
import sys
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
            assert self.headers["Lockgate-Action"] or not self.path.startswith("/profile")
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


@pytest.mark.parametrize("mode", [0o600, 0o664])
def test_a_file_keeps_its_mode_and_a_symbolic_link_stays(listener, tmp_path, mode):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "real.txt").chmod(mode)
    (tmp_path / "link.txt").symlink_to("real.txt")
    assert ctl(tmp_path, "-o", "link.txt").returncode == 0
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == BODY
    assert stat.S_IMODE((tmp_path / "real.txt").stat().st_mode) == mode


def test_a_full_disk_keeps_the_old_profile(listener, tmp_path):
    old = "old\n" * 1000
    (tmp_path / "a.txt").write_text(old)
    listener.answer = (200, "x" * 100_000)
    # A file beyond the limit is refused like one on a full disk.
    command = ["profile", "--admin", f"unix:{tmp_path}/admin", "-o", "a.txt"]
    said = limited(["ctl", *command], tmp_path, 50_000)
    assert said.returncode == 1, said
    assert said.stderr == "lockgate: cannot write a.txt: File too large\n"
    assert (tmp_path / "a.txt").read_text() == old
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "admin"]


def limited(arguments, directory, size):
    """Runs a command that can write no file of more than `size` bytes."""
    return subprocess.run(
        [sys.executable, "-m", "lockgate", *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )


def test_a_profile_can_go_to_a_pipe_and_to_standard_output(listener, tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe.txt").read_text()))
    reader.start()
    assert ctl(tmp_path, "-o", "pipe.txt").returncode == 0
    reader.join(10)
    assert read == [BODY]
    (tmp_path / "out.txt").symlink_to("/dev/stdout")
    assert ctl(tmp_path, "-o", "out.txt").stdout == f"{BODY}wrote out.txt\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["profile"], BODY),
        (["status"], '{"name": "lockgate"}'),
        (["metrics"], "x 1\n"),
        (["events", "--json"], '{"name": "lockgate", "events": [{}], "last": 0}'),
        (
            ["stacks"],
            '{"name": "lockgate", "workers": [{"slot": 0, "pid": 7, "problem": "ended"}]}',
        ),
    ],
)
def test_output_that_cannot_be_written_is_one_line(listener, tmp_path, arguments, answer):
    listener.answer = (200, answer)
    where = ["--admin", f"unix:{tmp_path}/admin"]
    with open("/dev/full", "w") as full:
        said = subprocess.run(
            [sys.executable, "-m", "lockgate", "ctl", *arguments, *where],
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=20,
            check=False,
        )
    expected = "lockgate: cannot write the output: No space left on device\n"
    assert (said.returncode, said.stderr) == (1, expected)


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
