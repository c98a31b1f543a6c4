"""A new version that fails where the old one did not is rolled back while both answer."""

import os
import re
import signal

import pytest
from harness import eventually
from harness.steady import SteadyLoad

APP = """
import itertools
VERSION = {version!r}
NUMBERS = itertools.count(1)


def app(environ, start_response):
    body = VERSION.encode()
    status = "200 OK"
    if environ.get("HTTP_USER_AGENT") != "lockgate-warmup" and next(NUMBERS) % 3 == 0:
        status = {third!r}
    start_response(status, [("Content-Length", str(len(body)))])
    return [body]
"""


def write(directory, version, third="200 OK"):
    """The application as a deploy would leave it: in place at once."""
    draft = directory / "site_app.py.new"
    draft.write_text(APP.format(version=version, third=third))
    draft.rename(directory / "site_app.py")


@pytest.fixture
def watched(tmp_path, start):
    """Starts a server of version one with this canary period."""
    write(tmp_path, "one")

    def watched(longest, *arguments):
        arguments += ("--canary-period", longest, "--warmup", "/")
        return start("site_app:app", *arguments, chdir=tmp_path, workers=2)

    return watched


def test_a_version_that_fails_often_is_rolled_back_and_the_old_one_serves_on(watched, tmp_path):
    server = watched("60s")
    old = set(server.workers())
    write(tmp_path, "two", third="500 Internal Server Error")
    with SteadyLoad(server.address) as load:
        eventually(lambda: load.answers["one"] > 40, what="some answers of the old version")
        server.signal(signal.SIGHUP)
        server.wait_for_log("serve beside the old ones for 60.0 s")
        server.wait_for_log("reload failed: errors of the new workers: .*: rolled back")
        eventually(lambda: set(server.workers()) == old, within=20, what="the new ones have left")
        answered = load.answers["one"]
        eventually(lambda: load.answers["one"] > answered + 40, what="the old version serves on")
    assert load.answers["two"] > 0, "no answer of the new version"
    assert load.failures
    assert [failure for failure in load.failures if "500 two" not in failure] == []
    assert server.stop() == 0


@pytest.mark.slow
def test_a_good_version_takes_over_after_the_canary_period_and_both_answer_until_then(
    watched, tmp_path
):
    server = watched("10s")
    old = set(server.workers())
    write(tmp_path, "two")
    with SteadyLoad(server.address) as load:
        server.signal(signal.SIGHUP)
        server.wait_for_log("serve beside the old ones")
        eventually(lambda: load.answers["two"] > 0, what="answers of the new version")
        before = load.answers["one"]
        assert old < set(server.workers())
        eventually(lambda: load.answers["one"] > before, what="the old one answers beside it")
        server.wait_for_log("reload: done in")
        eventually(lambda: old.isdisjoint(server.workers()), within=20, what="the old ones left")
    assert load.failures == []
    figures = re.search(
        r"canary period has passed .*; errors of the new workers: 0\.0 % of (\d+) responses; "
        r"of the old ones: 0\.0 % of (\d+) responses",
        server.errors,
    )
    assert int(figures[1]) > 0 and int(figures[2]) > 0, server.errors
    assert server.get("/").body == b"two"


def test_new_connections_go_to_the_new_workers_first(watched, tmp_path):
    server = watched("60s")
    write(tmp_path, "two")
    server.signal(signal.SIGHUP)
    server.wait_for_log("serve beside the old ones")

    def are_nearly_all_new():
        # A new worker that is not scheduled leaves a connection to an old one. With even shares,
        # 36 of 40 come once in ten million times.
        return [server.get("/").body for _ in range(40)].count(b"two") >= 36

    # One connection at a time: the worker that is first in the kernel's queue takes it.
    eventually(are_nearly_all_new, within=30, what="36 of 40 answers of the new version")


def test_a_new_worker_that_dies_in_the_canary_period_rolls_back(watched, tmp_path):
    server = watched("60s")
    old = set(server.workers())
    write(tmp_path, "two")
    server.signal(signal.SIGHUP)
    server.wait_for_log("serve beside the old ones")
    pid = max(set(server.workers()) - old)
    os.kill(pid, signal.SIGKILL)
    server.wait_for_log(
        rf"reload failed: worker \d \(pid {pid}\) has died during the canary period"
    )
    eventually(lambda: set(server.workers()) == old, within=20, what="the new ones have left")
    assert server.get("/").body == b"one"
