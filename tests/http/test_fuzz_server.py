"""Requests that were changed at random are answered correctly, and a wrong answer is found."""

import json

import pytest
from fuzz_server import AFTER, BEFORE, fuzz, judge
from harness import Response

SECONDS = 4


def test_changed_requests_are_answered_rightly_or_not_at_all(shared):
    server = shared("echoing:app", "--threads", "2")
    count, accepted, findings = fuzz(server.address, SECONDS, seed=0)
    assert findings == []
    assert count > 200 and accepted > 20, "too few to mean anything"
    assert server.get("/after").status == 200


def reply(path, status=200, close=False):
    seen = {"method": "GET", "raw": path, "path": path, "body": ""}
    headers = [("Connection", "close")] if close else []
    return Response(status, "", "1.1", headers, body=json.dumps(seen).encode())


PLAIN = BEFORE + AFTER
REFUSED = reply("", 400, close=True)


@pytest.mark.parametrize(
    ("data", "responses", "end", "kind"),
    [
        (PLAIN, [reply("/before"), reply("/after")], "closed", None),
        (BEFORE + b"X" + AFTER, [reply("/before"), REFUSED], "closed", None),
        (PLAIN, [reply("/before"), reply("/after")], "hang", "hang"),
        (PLAIN, [reply("/before")], "malformed: status line", "malformed"),
        (PLAIN, [reply("/before"), reply("", 400)], "closed", "malformed"),
        (PLAIN, [reply("/after")], "closed", "smuggled"),
        (PLAIN, [reply("/before"), reply("/before")], "closed", "smuggled"),
        (BEFORE * 3 + AFTER, [reply("/before"), REFUSED, reply("/after")], "closed", "smuggled"),
        (PLAIN, [reply("/before")] + [reply("/x")] * 9, "closed", "excess"),
        (PLAIN, [reply("/before"), reply("/other")], "closed", "unlike"),
    ],
)
def test_the_check_finds_a_wrong_answer(data, responses, end, kind):
    if kind == "unlike":
        pytest.importorskip("h11")
    wrong = judge(data, responses, end)
    assert (wrong and wrong[0]) == kind
