"""The history of a server, at the admin listener: it agrees with what clients have seen."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
from harness import eventually
from harness.admin import Admin
from harness.process import children
from lockgate.events import START, show_new

LABEL = "GET /hold"


def history(admin, query="step=1"):
    response = admin.ask(f"/history?{query}")
    assert response.status == 200, response
    return json.loads(response.body)


def now(admin):
    response = admin.ask("/now")
    assert response.status == 200, response
    return json.loads(response.body)


def test_each_response_is_in_one_second_of_the_history(start, tmp_path):
    admin = Admin(start, tmp_path, "gates:app", workers=2)
    began = time.time()
    for _ in range(30):
        assert admin.server.get("/").status == 200

    def found():
        points = history(admin)["points"]
        return points if sum(points["2xx"]) >= 30 else None

    points = eventually(found, within=20, what="30 responses")
    ended = time.time()
    assert sum(points["2xx"]) == sum(points["taken"]) == 30
    assert sum(map(sum, points["durations"])) == sum(map(sum, points["waits"])) == 30
    assert sum(points["5xx"]) == 0 == sum(sum(column) for column in points["lost"].values())
    served = [t for t, count in zip(points["time"], points["2xx"], strict=True) if count]
    assert began - 2 <= served[0] <= served[-1] <= ended
    steps = {later - earlier for earlier, later in pairwise(points["time"])}
    assert steps <= {1.0}, points["time"]
    assert points["workers"][-1] == 2 and points["memory"][-1] > 10 << 20
    lengths = {len(column) for column in points.values() if isinstance(column, list)}
    assert lengths == {len(points["time"])}
    assert sum(points["request_seconds"]) < 30


def test_a_slow_request_is_in_both_while_it_runs_and_in_the_history_afterwards(start, tmp_path):
    admin = Admin(start, tmp_path, "gates:app", "--slow-request", "300ms", workers=1)
    gate = tmp_path / "gate"
    with admin.server.connect() as wire:
        wire.send(f"GET /hold?{gate} HTTP/1.1\r\nHost: a\r\n\r\n".encode())

        def slow():
            return next(iter(history(admin)["slow"]), None)

        request = eventually(slow, within=20, what="a slow request")
        assert request["is_running"] and request["label"] == LABEL, request
        assert request["seconds"] >= 0.3 and request["target"] == "/hold", request
        (thread,) = now(admin)["threads"]
        assert (thread["label"], thread["target"]) == (LABEL, "/hold")
        assert thread["thread"] == request["thread"] and thread["age"] >= request["seconds"]
        gate.touch()
        assert wire.response().status == 200
    over = eventually(lambda: (r := slow()) and not r["is_running"] and r, what="it is over")
    assert over["id"] == request["id"] and over["seconds"] >= request["seconds"]
    assert now(admin)["threads"] == []
    (path,) = history(admin)["paths"]
    assert path["label"] == LABEL and path["requests_seen"] == 1 and path["share"] == 1.0
    assert 0.9 * over["seconds"] <= path["seconds"] <= over["seconds"] + 0.2


def test_queries_that_are_wrong_are_refused_with_the_reason(start, tmp_path):
    admin = Admin(start, tmp_path, "gates:app", workers=1)
    for target, part in [
        ("/history?step=0", "step must be a number of seconds from 1 to 3600"),
        ("/history?from=yesterday", "from=yesterday: must be a number of seconds since 1970"),
        ("/events?after=x", "after=x: must be after=ID"),
    ]:
        response = admin.ask(target)
        assert response.status == 400 and part in response.body.decode(), response
    assert admin.ask("/history", "POST").status == 405


def events(admin):
    said = admin.ctl("events", "--json")
    assert said.returncode == 0, said
    return [json.loads(line) for line in said.stdout.splitlines()]


def kinds(admin):
    return [event["kind"] for event in events(admin)]


def wait_for_event(admin, kind, within=30):
    def last():
        found = [event for event in events(admin) if event["kind"] == kind]
        return found[-1] if found else None

    return eventually(last, within=within, what=f"an event {kind} (there are {kinds(admin)})")


def admin_process(admin):
    """The pid of the admin process: a child of the supervisor that is no worker."""
    workers = set(admin.workers())
    (found,) = set(children(admin.server.pid)) - workers
    return found


def test_what_happens_to_the_server_is_an_event_with_its_log_line(start, tmp_path):
    admin = Admin(start, tmp_path, "gates:app", workers=2)
    assert wait_for_event(admin, "start")["text"] == "all 2 workers are ready"
    victim = admin.status()["workers"][1]
    os.kill(victim["pid"], signal.SIGKILL)
    died = wait_for_event(admin, "worker_died")
    assert died["worker"] == victim["slot"] and died["level"] == "error"
    assert f"(pid {victim['pid']}) was killed by SIGKILL" in died["text"]
    eventually(lambda: len(admin.workers()) == 2, within=30, what="two workers")
    assert admin.ctl("reload", "--wait").returncode == 0
    begun, done = wait_for_event(admin, "reload_begun"), wait_for_event(admin, "reload_done")
    assert begun["id"] < done["id"] and done["text"].startswith("reload: done in ")
    assert (begun["generation"], done["generation"]) == (0, 1)
    assert admin.ctl("maintenance", "on").returncode == 0
    assert wait_for_event(admin, "maintenance")["text"] == "maintenance is on: clients get 503"
    assert admin.ctl("maintenance", "auto").returncode == 0
    # The admin process looks at it ten times a second.
    changes = eventually(
        lambda: (found := [e for e in events(admin) if e["kind"] == "maintenance"])[1:] and found,
        what="the end of the maintenance",
    )
    assert changes[1]["text"] == "maintenance is as the settings say"
    assert admin.ctl("workers", "+1").returncode == 0
    assert "increased to 3" in wait_for_event(admin, "resized")["text"]
    found = events(admin)
    assert [event["id"] for event in found] == sorted({event["id"] for event in found})
    shown = history(admin)["events"]
    assert shown == found and len(shown) == 7
    later = json.loads(admin.ask(f"/events?after={done['id']}").body)
    assert later["events"][0]["kind"] == "maintenance"
    assert later["last"] == later["events"][-1]["id"]
    text = admin.ctl("events").stdout
    assert re.search(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ERROR    worker_died ", text, re.M), text


def test_a_request_that_dies_with_its_worker_is_in_the_event_without_its_query(start, tmp_path):
    admin = Admin(start, tmp_path, "gates:app", workers=1)
    gate = tmp_path / "gate"
    with admin.server.connect() as wire:
        wire.send(f"GET /hold?{gate} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        pid = int(eventually(lambda: wait_text(f"{gate}.started"), within=20, what="it runs"))
        os.kill(pid, signal.SIGKILL)
        text = wait_for_event(admin, "worker_died")["text"]
    assert "1 request was in flight:\n  GET /hold of 127.0.0.1" in text
    assert str(gate) in admin.server.errors and str(gate) not in text


def wait_text(path):
    return Path(path).read_text() if os.path.exists(path) else None


@pytest.mark.parametrize("way", ["the admin process dies", "the server is upgraded"])
def test_the_history_outlives_what_records_it(start, tmp_path, way):
    admin = Admin(start, tmp_path, "gates:app", workers=1)
    for _ in range(20):
        assert admin.server.get("/").status == 200

    def served():
        return sum(history(admin)["points"]["2xx"])

    eventually(lambda: served() == 20, within=20, what="20 responses")
    wait_for_event(admin, "start")
    before = admin_process(admin)
    if way == "the admin process dies":
        os.kill(before, signal.SIGKILL)
    else:
        admin.server.signal(signal.SIGUSR2)
        admin.server.wait_for_log("reload: done", within=40)

    def is_back():
        try:
            found = history(admin)["points"]["time"]
            return admin_process(admin) != before and found
        except (OSError, AssertionError, ValueError):
            return None

    times = eventually(is_back, within=30, what="another admin process")
    eventually(
        lambda: history(admin)["points"]["time"][-1] > times[-1] + 1,
        within=30,
        what="it records",
    )
    admin.server.get("/")
    eventually(lambda: served() == 21, within=20, what="one more response")
    found = kinds(admin)
    assert found[0] == "start", found
    if way == "the server is upgraded":
        assert found.count("upgrade") == 3 and found[-1] == "reload_done", found
    else:
        log = wait_for_event(admin, "log")
        assert "the admin process" in log["text"] and log["level"] == "warning"


def test_events_are_followed_across_a_new_admin_process(start, tmp_path):
    admin = Admin(start, tmp_path, "gates:app", workers=1)
    wait_for_event(admin, "start")
    command = [sys.executable, "-m", "lockgate", "ctl", "--admin", admin.address]
    command += ["events", "--follow", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as follower:
        try:
            assert json.loads(follower.stdout.readline())["kind"] == "start"
            os.kill(admin_process(admin), signal.SIGKILL)
            assert json.loads(follower.stdout.readline())["kind"] == "log"
            assert admin.ctl("workers", "+1").returncode == 0
            assert json.loads(follower.stdout.readline())["kind"] == "resized"
        finally:
            follower.kill()


def test_events_are_followed_across_a_boot_of_the_host(monkeypatch, capsys):
    def event(number, when, text):
        kind = {"kind": "log", "level": "warning", "worker": None, "generation": 0}
        return {"id": number, "time": when, "text": text, **kind}

    before = [event(9_000, 50.0, "old"), event(9_100, 51.0, "older boot")]
    left = [event(8_000, 49.0, "an older one")]
    after = [event(10, 90.0, "booted")]
    kept = [before, before, left, after, after]

    def read(address, target):
        number = int(target.partition("after=")[2])
        answer = {"events": [one for one in kept[0] if one["id"] > number]}
        return {**answer, "last": kept[0][-1]["id"]}

    monkeypatch.setattr("lockgate.events.read_object", read)
    shown, texts = START, []
    while kept:
        shown = show_new("", shown, as_json=True)
        texts.append([json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()])
        del kept[0]
    assert texts == [["old", "older boot"], [], [], ["booted"], []]
