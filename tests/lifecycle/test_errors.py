"""Failed requests by path and exception, at the admin listener: what, where, how often."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness import eventually
from harness.admin import Admin
from harness.requirements import require_module
from lifecycle.test_history import admin_process

SECRET = "token=4711"


def errors(admin):
    response = admin.ask("/history?step=1")
    assert response.status == 200, response
    return json.loads(response.body)["errors"]


def counted(admin, expected):
    """The errors as soon as that many are counted."""

    def found():
        listed = errors(admin)
        return listed if sum(one["count"] for one in listed) >= expected else None

    return eventually(found, within=20, what=f"{expected} errors")


def test_a_failed_request_has_its_exception_and_its_frames(start, tmp_path):
    admin = Admin(start, tmp_path, "failing:app", "--request-id", workers=1)
    for path, status in [
        ("/", 200),
        (f"/raises/1?{SECRET}", 500),
        (f"/raises/2?{SECRET}", 500),
        (f"/caught?{SECRET}", 502),
        ("/status", 503),
        ("/silent", 500),
        ("/late", 200),
        ("/", 200),
    ]:
        assert admin.server.get(path).status == status, path
    found = {one["label"]: one for one in counted(admin, 6)}
    raised = "failing.Broken"
    seen = {label: (one["status"], one["count"], one["exception"]) for label, one in found.items()}
    assert seen == {
        "GET /raises/*": (500, 2, raised),
        "GET /caught": (502, 1, raised),
        "GET /status": (503, 1, ""),
        "GET /silent": (500, 1, ""),
        "GET /late": (None, 1, raised),
    }
    for label in ("GET /raises/*", "GET /caught", "GET /late"):
        frames = found[label]["frames"]
        assert (frames[0]["function"], Path(frames[0]["file"]).name) == ("find_order", "failing.py")
        assert "raise Broken" in frames[0]["source"], frames
        assert found[label]["request_id"] and found[label]["worker"] == 0
    assert found["GET /raises/*"]["first"] <= found["GET /raises/*"]["last"]


@pytest.mark.parametrize(("shown", "is_shown"), [("paths", False), ("targets", True)])
def test_what_an_exception_says_is_shown_where_queries_are(start, tmp_path, shown, is_shown):
    admin = Admin(start, tmp_path, "failing:app", "--admin-show", shown, workers=1)
    admin.server.get(f"/raises/1?{SECRET}")
    (error,) = counted(admin, 1)
    assert error["message"] == (f"no order of {SECRET}" if is_shown else "")
    assert (SECRET in json.dumps(error)) == is_shown


@pytest.mark.parametrize(
    ("framework", "raised", "function"),
    [("flask", "ZeroDivisionError", "share"), ("django", "KeyError", "order")],
)
def test_what_a_framework_catches_is_known(start, tmp_path, framework, raised, function):
    require_module(framework)
    admin = Admin(start, tmp_path, f"failing_{framework}:app", workers=1)
    for number in range(3):
        assert admin.server.get(f"/orders/{number}").status == 500
    (error,) = counted(admin, 3)
    assert (error["label"], error["status"]) == ("GET /orders/*", 500)
    assert (error["exception"], error["frames"][0]["function"]) == (raised, function)


def test_each_failure_of_a_storm_is_counted_also_after_the_admin_process_has_died(start, tmp_path):
    admin = Admin(start, tmp_path, "failing:app", "--threads", "4", workers=2)

    def fail(_):
        return [admin.server.get(path).status for path in ("/raises/1", "/status") * 25]

    with ThreadPoolExecutor(8) as clients:
        answers = [status for found in clients.map(fail, range(8)) for status in found]
    assert len(answers) == 400 and set(answers) == {500, 503}
    expected = {"GET /raises/*": 200, "GET /status": 200}
    counted(admin, 400)
    assert {one["label"]: one["count"] for one in errors(admin)} == expected
    died = admin_process(admin)
    os.kill(died, signal.SIGKILL)

    def answer_of_another():
        try:
            found = errors(admin)
            return found if admin_process(admin) != died else None
        except (OSError, AssertionError, ValueError):
            return None

    again = eventually(answer_of_another, within=30, what="another admin process")
    assert {one["label"]: one["count"] for one in again} == expected
