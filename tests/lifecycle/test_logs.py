"""Logs that hang, break, move or vanish: no request waits, and no line is lost uncounted."""

import os
import re
import signal
import threading

import pytest
from harness import Load, Wire, eventually, request
from harness.other_user import open_to_others, reachable_python

FORMAT = "%(U)s"


def accessed(*paths):
    return [line for path in paths if path.exists() for line in path.read_text().splitlines()]


@pytest.mark.parametrize("workers", [1, 2])
def test_no_line_is_lost_when_the_log_is_moved_under_load(start, tmp_path, workers):
    log = tmp_path / "access.log"
    server = start(
        "hello:app", "--access-logfile", str(log), "--access-logformat", FORMAT, workers=workers
    )
    moved = [tmp_path / f"access.log.{number}" for number in range(6)]
    with Load(server.address, clients=4, path="/asked") as load:
        for old in moved:
            enough = load.ok + 50
            eventually(lambda enough=enough: load.ok >= enough, what="some answers")
            log.rename(old)
            server.signal(signal.SIGUSR1)
            # As logrotate does it: only what is not written to any more is packed away.
            eventually(log.exists, what="a new log")
        eventually(lambda: log.stat().st_size > 0, what="lines in the last log")
    assert load.failures == []
    assert server.stop() == 0
    lines = accessed(log, *moved)
    assert set(lines) == {"/asked"}
    assert len(lines) == load.ok


def test_logs_that_were_removed_are_there_again_after_usr1(start, tmp_path):
    access, errors = tmp_path / "access.log", tmp_path / "error.log"
    server = start(
        "hello:app", "--access-logfile", str(access), "--error-logfile", str(errors), wait=False
    )
    eventually(lambda: errors.exists() and "ready" in errors.read_text(), what="it is ready")
    access.unlink()
    errors.unlink()
    server.signal(signal.SIGUSR1)
    eventually(lambda: access.exists() and errors.exists(), what="both logs")

    def is_written():
        server.get("/after")
        return "/after" in access.read_text()

    eventually(is_written, what="a line in the new access log")
    assert server.stop() == 0
    assert errors.stat().st_size > 0


@pytest.fixture
def common_place(tmp_path):
    """A directory that any user can reach and only root can write to."""
    open_to_others(tmp_path)
    place = tmp_path / "place"
    place.mkdir()
    return place


def test_logs_that_root_created_can_be_opened_again_by_the_user_of_the_workers(
    start, tmp_path, common_place
):
    access, errors = common_place / "access.log", common_place / "error.log"
    server = start(
        "faults:app", "--user", "12345", "--group", "12346",
        "--access-logfile", str(access), "--error-logfile", str(errors),
        prefix=reachable_python(tmp_path), wait=False,
    )  # fmt: skip
    eventually(lambda: errors.exists() and "ready" in errors.read_text(), what="it is ready")
    for log in (access, errors):
        assert (log.stat().st_uid, log.stat().st_gid) == (12345, 12346)
        log.rename(log.with_suffix(".old"))
    server.signal(signal.SIGUSR1)

    def are_written():
        if not (access.exists() and errors.exists()):
            return False
        server.get("/raise-before")
        return "raise-before" in access.read_text() and "Traceback" in errors.read_text()

    eventually(are_written, what="lines of the worker in both new logs")
    assert (access.stat().st_uid, errors.stat().st_uid) == (12345, 12345)
    assert "reopen" not in errors.read_text()
    assert server.stop() == 0


def test_a_log_of_another_user_keeps_its_owner(start, tmp_path, common_place):
    errors = common_place / "error.log"
    errors.write_text("")
    errors.chmod(0o644)
    server = start(
        "hello:app", "--user", "12345", "--group", "12345", "--error-logfile", str(errors),
        prefix=reachable_python(tmp_path), wait=False,
    )  # fmt: skip
    eventually(lambda: "ready" in errors.read_text(), what="it is ready")
    assert errors.stat().st_uid == 0
    assert re.search(r"WARNING.*error_logfile.*cannot reopen it", errors.read_text())
    server.signal(signal.SIGUSR1)
    eventually(lambda: "cannot reopen" in errors.read_text(), what="the worker says so again")
    assert server.get("/").body == b"hello"
    assert server.stop() == 0


def test_a_unix_socket_belongs_to_the_user_of_the_workers(start, tmp_path, common_place):
    path = common_place / "lockgate.sock"
    server = start(
        "hello:app", "--user", "12345", "--group", "12346", bind=[f"unix:{path}"],
        prefix=reachable_python(tmp_path),
    )  # fmt: skip
    found = path.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (12345, 12346, 0o660)
    server.address = str(path)
    assert server.get("/").body == b"hello"
    assert server.stop() == 0
    assert not path.exists()


@pytest.mark.parametrize("threads", ["1", "4"])
@pytest.mark.parametrize("stream", ["access", "error"])
def test_an_unread_pipe_delays_no_request(start, tmp_path, threads, stream):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    holder = os.open(fifo, os.O_RDWR)
    # The shell opens it for the server, which then has an ordinary, blocking pipe.
    redirected = ["sh", "-c", f'exec "$0" "$@" {"" if stream == "access" else "2"}>{fifo}']
    arguments = ["--threads", threads, "--log-level", "debug"]
    if stream == "access":
        arguments += ["--access-logfile", "-", "--access-logformat", "%(s)s " + "x" * 1000]
    server = start("faults:app", *arguments, prefix=redirected, wait=False)
    eventually(lambda: answers(server), what="an answer")
    # Each writes a kilobyte or a traceback; a pipe holds 64 KiB.
    for _ in range(400):
        response = server.get("/pid" if stream == "access" else "/raise-before")
        assert response.status == (200 if stream == "access" else 500)
    for path in ("/pid", "/raise-midstream"):
        with server.connect() as wire:
            wire.send(request("GET", path, "Connection: close"))
            assert wire.rest().startswith(b"HTTP/1.1 200")
    worker = server.workers()
    held = b""
    os.set_blocking(holder, False)

    def drained():
        nonlocal held
        try:
            held += os.read(holder, 1 << 20)
        except BlockingIOError:
            pass
        if stream == "access":
            return held.count(b"\n") >= 400
        server.get("/raise-before")
        return b"lost: it was not writable" in held and held.rstrip().endswith(b"start_response")

    eventually(drained, what="what was written")
    # No line has another one in it.
    start_of_line = rb"\d{3} x{1000}$" if stream == "access" else rb"(\[|  |Traceback |ValueError)"
    assert all(re.match(start_of_line, line) for line in held.splitlines())
    server.signal(signal.SIGTTOU)
    assert server.workers() == worker
    assert server.stop() == 0
    os.close(holder)


def answers(server):
    try:
        return server.get("/pid").status == 200
    except ConnectionRefusedError:
        return False


def test_a_named_pipe_is_a_log_whose_readers_come_and_go(start, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    server = start("hello:app", "--access-logfile", str(fifo), "--access-logformat", FORMAT)
    for number in range(3):
        server.get(f"/{number}")
        with fifo.open("rb") as reader:
            assert reader.readline() == b"/%d\n" % number
    server.signal(signal.SIGUSR1)
    assert server.get("/").status == 200
    assert server.stop() == 0


@pytest.mark.parametrize(
    "closed", ["2>&-", ">&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"], ids=lambda text: text
)
def test_closed_standard_streams_are_not_reused(start, closed):
    prefix = ["sh", "-c", f'exec "$0" "$@" {closed}']
    server = start(
        "faults:app", "--access-logfile", "-", "--error-logfile", "-",
        prefix=prefix, wait=False,
    )  # fmt: skip
    eventually(lambda: answers(server), what="an answer")
    for _ in range(20):
        # Each writes to both logs; a socket that has a stream's number would bring it here.
        response = server.get("/raise-before")
        assert response.status == 500 and b"Traceback" not in response.body
    for worker in server.workers():
        for number in (0, 1, 2):
            place = os.readlink(f"/proc/{worker}/fd/{number}")
            assert not place.startswith(("socket:", "anon_inode:", "pipe:")), place
    assert server.stop() == 0


@pytest.mark.parametrize("stream", [1, 2])
def test_a_log_reader_that_leaves_ends_no_process(start, stream):
    reader, writer = os.pipe()
    arguments = ["--access-logfile", "-", "--access-logformat", FORMAT] if stream == 1 else []
    prefix = ["sh", "-c", f'exec "$0" "$@" {stream}>/proc/{os.getpid()}/fd/{writer}']
    server = start("faults:app", *arguments, prefix=prefix, wait=False)
    eventually(lambda: answers(server), what="an answer")
    (worker,) = server.workers()
    os.close(writer)
    os.close(reader)
    for _ in range(20):
        assert server.get("/raise-before").status == 500
    assert server.get("/pid").body == str(worker).encode()
    if stream == 1:
        server.wait_for_log("access log: cannot be written: Broken pipe")
    assert server.stop() == 0


def test_lines_of_two_workers_do_not_mix_in_a_pipe_that_is_read_slowly(start, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    holder = os.open(fifo, os.O_RDWR)
    server = start(
        "hello:app", "--access-logfile", "-", "--access-logformat", "%(p)s " + "x" * 700 + " end",
        prefix=["sh", "-c", f'exec "$0" "$@" >{fifo}'], workers=2,
    )  # fmt: skip
    asked = 1500

    def ask():
        with Wire(server.address) as wire:
            for _ in range(asked // 30):
                wire.send(request("GET", "/") * 10)
                for _ in range(10):
                    assert wire.response().status == 200

    clients = [threading.Thread(target=ask) for _ in range(3)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    read = b""
    while read.count(b"\n") < asked:
        read += os.read(holder, 3000)
    lines = read.splitlines()
    assert len(lines) == asked
    assert all(re.fullmatch(rb"<?\d+>? x{700} end", line) for line in lines)
    os.close(holder)
