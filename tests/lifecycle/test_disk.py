"""Full, missing or read-only disks: at most a request is refused, and the server continues."""

import contextlib
import os
import resource
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from harness import eventually, request
from harness.other_user import reach_python
from harness.small_disk import bytes_free, fill, inside, mounted, small_disk

LARGE = 4 << 20


@pytest.fixture
def spool(tmp_path):
    directory = tmp_path / "spool"
    directory.mkdir()
    return directory


def upload(server, size=LARGE, target="/digest"):
    """Sends a body of which not all can be stored, reading only at the end, as most clients do."""
    with server.connect() as wire:
        wire.send(request("POST", target, f"Content-Length: {size}"))
        piece = bytes(65536)
        sender = threading.Thread(
            target=lambda: all(wire.send_while_open(piece) for _ in range(size // len(piece)))
        )
        sender.start()
        response = wire.response()
        sender.join()
    return response


def expect_service(server, spool):
    """Small bodies pass, and nothing is left of the large ones."""
    assert b'"seen": "small"' in server.post("/read", b"small").body
    (worker,) = server.workers()
    assert list(inside(worker, spool).iterdir()) == []
    # The client has the response before the worker closes the file of the body.
    eventually(lambda: not open_files(worker, spool), what="the files of bodies are closed")


def open_files(worker, spool):
    found = []
    for fd in Path(f"/proc/{worker}/fd").iterdir():
        # Another one may be closed meanwhile, such as that of a connection.
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(fd))
    return [place for place in found if place.startswith(str(spool))]


def test_a_body_on_a_full_disk_is_507_and_the_service_continues(start, spool):
    server = start(
        "bodies:app", "--body-memory", "64KiB", "--spool-dir", str(spool), prefix=small_disk(spool)
    )
    response = upload(server)
    assert response.status == 507 and response.wants_close()
    for _ in range(5):
        assert upload(server).status == 507
    expect_service(server, spool)
    (worker,) = server.workers()
    assert bytes_free(inside(worker, spool)) == 1 << 20
    line = server.wait_for_log(r"cannot store a request body in .*")
    assert str(spool) in line and "No space left" in line and "spool_dir" in line
    assert server.errors.count("cannot store a request body") == 1, "one line for all"
    assert upload(server, 512 << 10).status == 200, "what fits is stored"


def test_a_client_that_only_sends_still_gets_its_507(start, spool):
    server = start(
        "bodies:app", "--body-memory", "64KiB", "--spool-dir", str(spool), prefix=small_disk(spool)
    )
    with server.connect() as wire:
        # Sent in full before anything is read: the answer must not be overtaken by a reset.
        wire.send(request("POST", "/digest", f"Content-Length: {LARGE}"))
        assert wire.send_while_open(bytes(LARGE))
        assert wire.response().status == 507
        wire.expect_close()
        assert not wire.was_reset


def test_a_body_over_the_limit_for_files_is_507_and_ends_no_worker(start, spool):
    server = start("bodies:app", "--body-memory", "64KiB", "--spool-dir", str(spool))
    (worker,) = server.workers()
    # Beyond it the system sends SIGXFSZ, which would end the process by default.
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    assert upload(server).status == 507
    expect_service(server, spool)
    assert server.workers() == [worker]


def test_a_missing_spool_directory_is_500_until_it_is_back(start, spool):
    server = start("bodies:app", "--body-memory", "64KiB", "--spool-dir", str(spool))
    shutil.rmtree(spool)
    assert upload(server).status == 500
    assert str(spool) in server.wait_for_log(r"cannot store a request body in .*")
    spool.mkdir()
    assert upload(server).status == 200
    expect_service(server, spool)


def test_a_spool_directory_that_becomes_read_only_is_500(start, spool):
    server = start(
        "bodies:app", "--body-memory", "64KiB", "--spool-dir", str(spool), prefix=small_disk(spool)
    )
    (worker,) = server.workers()
    enter = ["nsenter", "--mount", f"--target={worker}"]
    if shutil.which("nsenter") is None:
        pytest.skip("nsenter is not installed")
    subprocess.run([*enter, "mount", "-o", "remount,ro", str(spool)], check=True)
    assert upload(server).status == 500
    assert "Read-only" in server.wait_for_log(r"cannot store a request body in .*")
    expect_service(server, spool)


def test_a_spool_directory_that_is_not_writable_is_reported_at_startup(start, spool):
    read_only = mounted(f"mount -t tmpfs -o ro tmpfs {spool}")
    server = start("bodies:app", "--spool-dir", str(spool), prefix=read_only, wait=False)
    assert server.wait() == 2
    assert f"spool_dir = {spool}" in server.errors and "Read-only" in server.errors


READ_ONLY_EVERYTHING = """\
mount --make-rprivate / &&
mount -o remount,bind,ro / &&
mount -t tmpfs -o ro tmpfs /tmp &&
! touch /read-only 2>/dev/null"""


def test_no_writable_directory_no_home_and_an_unknown_user_cause_no_warning(start, tmp_path):
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    prefix = mounted(f"{reach_python(tmp_path)} && {READ_ONLY_EVERYTHING}")
    unused = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"]
    tried = subprocess.run(
        [*prefix, *unused, "env", "-u", "HOME", sys.executable, "-c", "import os"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if tried.returncode != 0:
        pytest.skip(f"no other user here: {tried.stderr.strip()}")
    server = start(
        "bodies:app", "--access-logfile", "-",
        prefix=[*prefix, *unused, "env", "-u", "HOME", "-u", "USER", "-u", "TMPDIR"],
        workers=2, wait=False,
    )  # fmt: skip
    server.wait_until_ready()
    (worker, _) = server.workers()
    assert os.stat(f"/proc/{worker}").st_uid == 12345
    assert b'"seen": "small"' in server.post("/read", b"small").body
    assert "WARNING" not in server.errors and "ERROR" not in server.errors, server.errors
    # What needs a disk says so, and only then.
    assert upload(server, 16 << 20).status == 500
    assert "/tmp" in server.wait_for_log(r"cannot store a request body in .*")
    assert server.get("/ignore").status == 200
    assert server.stop() == 0


def test_an_access_log_on_a_full_disk_delays_no_request_and_counts_lost_lines(start, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    server = start(
        "hello:app", "--access-logfile", str(disk / "access.log"), "--threads", "1",
        "--access-logformat", "%(U)s " + "x" * 100 + " end", prefix=small_disk(disk),
    )  # fmt: skip
    (worker,) = server.workers()
    seen, filler = inside(worker, disk / "access.log"), inside(worker, disk / "filler")
    server.get("/before")
    eventually(lambda: b"/before" in seen.read_bytes(), what="the first line")
    fill(filler)
    # The rest of the last block still takes a part of what comes.
    with server.connect() as wire:
        for number in range(200):
            wire.send(request("GET", f"/full/{number}"))
            assert wire.response().status == 200
    server.wait_for_log(r"access log: cannot be written: No space left.*")
    with seen.open("ab", buffering=0) as other, contextlib.suppress(OSError):
        other.write(b"another process's line end\n")
    lines = [line for line in seen.read_text().splitlines() if line.strip()]
    assert all(line.endswith(" end") for line in lines), "no line is left half"
    filler.unlink()
    server.get("/after")
    server.wait_for_log(r"access log: writable again; no line was lost")
    eventually(lambda: b"/after" in seen.read_bytes(), what="the last line")
    # What was left of a line is blank, and the other process's line is there if the disk took it.
    lines = [line for line in seen.read_text().splitlines() if line.strip()]
    paths = [line.split(" ")[0] for line in lines if line.startswith("/")]
    assert paths == ["/before", *(f"/full/{number}" for number in range(200)), "/after"]
    assert server.errors.count("access log:") == 2, "said once, and once that it is over"
    assert all(line.endswith(" end") for line in lines), lines


@pytest.mark.slow
def test_an_access_log_that_stays_full_costs_bounded_memory_and_counts_what_is_lost(
    start, tmp_path
):
    disk = tmp_path / "disk"
    disk.mkdir()
    server = start(
        "hello:app", "--access-logfile", str(disk / "access.log"), "--threads", "1",
        "--access-logformat", "%(U)s " + "x" * 20_000, prefix=small_disk(disk),
    )  # fmt: skip
    (worker,) = server.workers()
    seen, filler = inside(worker, disk / "access.log"), inside(worker, disk / "filler")
    fill(filler)
    asked = 2000
    with server.connect() as wire:
        for _ in range(asked // 20):
            wire.send(request("GET", "/full") * 20)
            for _ in range(20):
                assert wire.response().status == 200
    pages = int(open(f"/proc/{worker}/statm").read().split()[1])
    assert pages * resource.getpagesize() < 100 << 20
    server.wait_for_log(r"access log: cannot be written")
    enter = ["nsenter", "--mount", f"--target={worker}"]
    subprocess.run([*enter, "mount", "-o", "remount,size=64m", str(disk)], check=True)
    lost = int(server.wait_for_log(r"writable again; \d+ lines").split()[-2])
    assert 0 < lost < asked
    lines = eventually(
        lambda: len(found := seen.read_bytes().splitlines()) == asked - lost and found,
        what="all lines that were not lost",
    )
    assert {len(line) for line in lines} == {len("/full ") + 20_000}


def test_an_error_log_on_a_full_disk_delays_no_request_and_reports_lost_lines_later(
    start, tmp_path
):
    disk = tmp_path / "disk"
    disk.mkdir()
    log = disk / "error.log"
    server = start(
        "faults:app", "--error-logfile", str(log), prefix=small_disk(disk), wait=False
    )  # fmt: skip

    def worker():
        found = server.workers()
        return found and inside(found[0], log).exists() and found[0]

    pid = eventually(worker, what="a worker")
    seen, filler = inside(pid, log), inside(pid, disk / "filler")
    eventually(lambda: "ready" in seen.read_text(), what="the worker is ready")
    fill(filler)
    for _ in range(50):
        assert server.get("/raise-before").status == 500
    filler.unlink()
    eventually(lambda: "were lost" in seen.read_text(), what="the number of lost lines")
    assert server.get("/raise-before").status == 500
    eventually(lambda: seen.read_text().rstrip().endswith("start_response"), what="a traceback")
    text = seen.read_text()
    assert text.count(" lost: it was not writable") == 1
    # An incomplete line is overwritten with spaces; one of a single byte becomes an empty line.
    starts = ("[", " ", "Traceback", "ValueError")
    assert all(line.startswith(starts) or not line for line in text.splitlines())
    assert server.workers() == [pid]
