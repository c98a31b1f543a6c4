"""Workers that have served enough make room for new ones, and no client sees it."""

import os
import time

import pytest
from harness import eventually
from harness.process import resident_bytes
from harness.steady import SteadyLoad

REPEATS = int(os.environ.get("LOCKGATE_TEST_REPEATS", "2"))


@pytest.mark.slow
def test_workers_are_replaced_after_their_requests_and_nothing_fails(start):
    server = start("gates:app", "--max-requests", "50", "--max-requests-jitter", "10", workers=4)
    first = set(server.workers())
    most = 0
    with SteadyLoad(server.address) as load:
        for _ in range(REPEATS):
            replaced = server.errors.count("is to be replaced: it has taken up")
            deadline = time.monotonic() + 40
            while server.errors.count("is to be replaced: it has taken up") < replaced + 6:
                most = max(most, len(load.answers))
                assert time.monotonic() < deadline, server.errors
                time.sleep(0.05)
    assert load.failures == []
    assert len(load.answers) > 8, load.answers
    # Its replacement boots while it serves on; nobody serves many times its number.
    assert max(load.answers.values()) < 500, load.answers
    eventually(lambda: len(server.workers()) == 4, within=20, what="four workers again")
    assert first.isdisjoint(server.workers())
    assert server.stop() == 0


def test_a_replacement_that_cannot_boot_leaves_the_old_worker(start, tmp_path):
    app = tmp_path / "small.py"
    body = (
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Length', '2')])\n"
        "    return [b'ok']\n"
    )
    app.write_text(body)
    server = start("small:app", "--max-requests", "5", workers=1, chdir=tmp_path)
    (old,) = server.workers()
    app.write_text("raise RuntimeError('broken deploy')\n")
    for _ in range(8):
        assert server.get("/").status == 200
    server.wait_for_log("no replacement for the worker with pid")
    assert server.errors.count("RuntimeError: broken deploy") == 1
    assert server.get("/").body == b"ok"
    assert old in server.workers()
    app.write_text(body)
    eventually(lambda: old not in server.workers(), within=20, what="the old worker has left")
    assert server.get("/").body == b"ok"


def test_a_worker_that_has_served_long_enough_is_replaced(start):
    server = start("gates:app", "--max-worker-age", "1s", workers=1)
    (old,) = server.workers()
    server.wait_for_log("it has served long enough")
    eventually(lambda: old not in server.workers(), within=20, what="the old worker has left")
    assert server.get("/").status == 200


def test_a_worker_that_holds_too_much_memory_is_replaced(start, tmp_path):
    (tmp_path / "leaking.py").write_text(
        "LEAK = []\n"
        "def app(environ, start_response):\n"
        "    LEAK.append(b'x' * (1 << 20))\n"
        "    start_response('200 OK', [('Content-Length', '2')])\n"
        "    return [b'ok']\n"
    )
    server = start("leaking:app", workers=1, chdir=tmp_path)
    small = resident_bytes(server.workers()[0])
    server.stop()
    bound = (small >> 20) + 32
    server = start("leaking:app", "--max-worker-memory", f"{bound}MiB", workers=1, chdir=tmp_path)
    (old,) = server.workers()
    for _ in range(48):
        assert server.get("/").status == 200
    server.wait_for_log("of memory")
    eventually(lambda: old not in server.workers(), within=20, what="the old worker has left")
    assert server.get("/").status == 200
