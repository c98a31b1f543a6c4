"""Workers are replaced after a number of requests, and no client is affected."""

import os

import pytest
from harness import eventually
from harness.process import resident_bytes
from harness.steady import SteadyLoad

REPEATS = int(os.environ.get("LOCKGATE_TEST_REPEATS", "2"))


@pytest.mark.slow
def test_workers_are_replaced_after_their_requests_and_nothing_fails(start):
    server = start("gates:app", "--max-requests", "50", "--max-requests-jitter", "10", workers=8)
    first = set(server.workers())
    reported = "will be replaced: it has handled"
    with SteadyLoad(server.address) as load:
        for _ in range(REPEATS):
            more = server.errors.count(reported) + 6
            eventually(lambda: server.errors.count(reported) >= more, within=40, what="6 more")  # noqa: B023
        eventually(lambda: first.isdisjoint(server.workers()), within=60, what="all are new")
    assert load.failures == []
    assert len(load.answers) > 12, load.answers
    # Its replacement boots while it continues to serve; no worker serves many times its number.
    assert max(load.answers.values()) < 500, load.answers
    eventually(lambda: len(server.workers()) == 8, within=20, what="eight workers again")
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
    server.wait_for_log("cannot replace the worker with pid")
    assert server.errors.count("RuntimeError: broken deploy") == 1
    assert server.get("/").body == b"ok"
    assert old in server.workers()
    app.write_text(body)
    eventually(lambda: old not in server.workers(), within=20, what="the old worker has left")
    assert server.get("/").body == b"ok"


def test_a_worker_that_has_served_long_enough_is_replaced(start):
    server = start("gates:app", "--max-worker-age", "1s", workers=1)
    (old,) = server.workers()
    server.wait_for_log("it has reached its maximum age")
    eventually(lambda: old not in server.workers(), within=20, what="the old worker has left")
    assert server.get("/").status == 200


LEAKING = """
import os, time
LEAK = []
while os.path.exists("held"):
    time.sleep(0.01)

def app(environ, start_response):
    # Touched, so that it is really held.
    LEAK.append(bytearray(b"x") * (int(environ["QUERY_STRING"]) << 20))
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


@pytest.fixture
def leaking(tmp_path, start):
    """Starts a server whose worker may hold 32 MiB more than at first, or `hard` more."""
    (tmp_path / "leaking.py").write_text(LEAKING)
    server = start("leaking:app", workers=1, chdir=tmp_path)
    small = resident_bytes(server.workers()[0]) >> 20
    server.stop()

    def leaking(*arguments, hard=None):
        if hard:
            arguments += ("--max-worker-memory-hard", f"{small + hard}MiB")
        return start(
            "leaking:app", "--max-worker-memory", f"{small + 32}MiB", *arguments,
            workers=1, chdir=tmp_path,
        )  # fmt: skip

    return leaking


@pytest.mark.parametrize("measure", ["rss", "pss"])
def test_a_worker_that_holds_too_much_memory_is_replaced(leaking, measure):
    server = leaking("--worker-memory-measure", measure)
    (old,) = server.workers()
    # Well over the limit, which was made of resident sets: proportional ones are smaller.
    assert server.get("/?80").status == 200
    server.wait_for_log(r"will be replaced: it uses \d+ MiB of memory, more than \d+ MiB")
    eventually(lambda: old not in server.workers(), within=20, what="the old worker has left")
    assert server.get("/?0").status == 200
    assert "smaps_rollup" not in server.errors


def test_over_the_hard_limit_a_worker_leaves_before_its_replacement_is_ready(leaking, tmp_path):
    server = leaking(hard=64)
    (old,) = server.workers()
    (tmp_path / "held").touch()
    assert server.get("/?40").status == 200
    server.wait_for_log("will be replaced")
    assert server.get("/?40").status == 200
    server.wait_for_log(rf"pid {old}\) uses \d+ MiB .*max_worker_memory_hard")
    eventually(lambda: old not in server.workers(), within=20, what="the old worker has left")
    assert server.errors.count(" ready in ") == 1
    (tmp_path / "held").unlink()
    assert server.get("/?0").body == b"ok"
