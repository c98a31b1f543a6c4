"""The history of a server, at the admin listener: it agrees with what clients have seen."""

import json
import time
from itertools import pairwise

from harness import eventually
from harness.admin import Admin

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
