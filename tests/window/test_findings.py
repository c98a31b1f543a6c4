"""Which finding comes first and what it says, as a table: the page's own code in Node.js."""

import dataclasses

import pytest

from window.situations import DEATH, SITUATIONS, WHY, reload, replaced
from window.test_diagnosis import AT, diagnosed

FAILED = {
    "reload": reload(state="failed", begun=4, ended=4, failed=1, ready=0, why=WHY, last_seconds=1.9)
}
FAILED_EVENT = (-900.0, "reload_failed", "error", None, f"reload 4 has failed: {WHY}")


def died(*times, text=DEATH):
    return [(time, "worker_died", "error", 2, text) for time in times]


def found_in(situation, at=AT, **changes):
    scenario = SITUATIONS[situation]
    now = {**scenario.now, **changes.pop("now", {})}
    events = scenario.events + changes.pop("events", [])
    return diagnosed(dataclasses.replace(scenario, now=now, events=events, **changes).scene(at), at)


KILLED = "worker 2 (pid 4722) was killed by SIGKILL after 12.0 s: by the kernel's OOM killer"
NO_WORKER = {"workers": []}


@pytest.mark.parametrize(
    ("situation", "changes", "mark", "kinds"),
    [
        # What clients notice now comes before what has happened.
        ("overload", {"now": FAILED, "events": [FAILED_EVENT]}, "bad", ["overload", "reload"]),
        ("database", {"now": FAILED, "events": [FAILED_EVENT]}, "bad", ["slow", "reload"]),
        (
            "quiet",
            {
                "errors": lambda t: 0.13 if t > 0 else 0.0004,
                "events": died(95),
                "now": {"workers": replaced},
            },
            "bad",
            ["errors", "died"],
        ),
        ("database", {"events": died(0), "now": {"workers": replaced}}, "bad", ["slow", "died"]),
        (
            "quiet",
            {"errors": lambda t: 0.02 if t > 0 else 0.0004, "now": FAILED},
            "warn",
            ["errors", "reload"],
        ),
        # Workers that serve make a failed reload a warning, and so does a death that was replaced.
        ("failing_reload", {}, "warn", ["reload"]),
        ("dead_worker", {}, "warn", ["died"]),
        ("dead_worker", {"events": died(-200, -100)}, "warn", ["died"]),
        # Deaths repeat, or capacity is missing.
        ("dead_worker", {"events": died(-40, -60)}, "bad", ["died"]),
        ("quiet", {"events": died(150)}, "bad", ["died"]),
        ("dead_worker", {"now": NO_WORKER}, "bad", ["down", "died"]),
        ("failing_reload", {"now": NO_WORKER}, "bad", ["down", "reload"]),
    ],
)
def test_findings_are_in_the_order_of_their_effect_on_clients(situation, changes, mark, kinds):
    found = found_in(situation, **changes)
    listed = [one["kind"] for one in [found["worst"], *found["list"]]]
    assert (found["level"], listed[0]) == (mark, kinds[0])
    assert [kind for kind in listed if kind in kinds] == kinds


@pytest.mark.parametrize(
    ("text", "title"),
    [
        (DEATH, "Worker 2 was killed (SIGSEGV) at 07:56:25; replaced in 1.2 s; 1 request lost"),
        (KILLED, "Worker 2 was killed (SIGKILL) at 07:56:25; replaced in 1.2 s"),
        (
            "worker 2 (pid 1) was killed by SIGKILL after 2.0 s: by the kernel's OOM killer: the "
            "control group had reached its memory limit; 2 requests were in flight:\n  GET /",
            "Worker 2 was killed (SIGKILL, out of memory) at 07:56:25; replaced in 1.2 s; "
            "2 requests lost",
        ),
        (
            "worker 2 (pid 1) exited with code 3 after 12.0 s",
            "Worker 2 exited with code 3 at 07:56:25; replaced in 1.2 s",
        ),
    ],
)
def test_a_death_takes_one_line(text, title):
    scenario = dataclasses.replace(SITUATIONS["dead_worker"], events=died(0.0, text=text))
    assert diagnosed(scenario.scene(AT), AT)["title"] == title


def test_errors_name_what_most_of_them_have_raised():
    database = SITUATIONS["database"]
    scenario = dataclasses.replace(database, errors=lambda t: 0.3 if t > 0 else 0.0004)
    found = diagnosed(scenario.scene(AT), AT)
    assert found["worst"]["kind"] == "errors"
    assert ", mostly psycopg.OperationalError in GET /orders/*" in found["title"]


def test_errors_blame_the_code_that_raises_and_not_what_runs_meanwhile():
    """All running requests wait for a database, and those of another path fail at once."""
    database = SITUATIONS["database"]
    frame = {"function": "boom", "file": "shop/app.py", "line": 10, "source": "raise ValueError"}
    scenario = dataclasses.replace(database, errors=lambda t: 0.3 if t > 0 else 0.0004)
    scene = scenario.scene(AT)
    failure = {"label": "GET /boom", "status": 500, "count": 90, "exception": "ValueError"}
    failure |= {"message": "", "worker": 0, "request_id": "", "frames": [frame]}
    failure |= {"first": AT - 9, "last": AT - 1}
    history = {**scene.history(AT, AT - 900, AT, 5), "errors": [failure]}
    found = diagnosed(scene, AT, history=history)
    assert found["worst"]["kind"] == "errors"
    assert found["title"].endswith("mostly ValueError in GET /boom")
    place = found["place"]
    assert (place["label"], place["frame"]["function"], place["source"]) == (
        "GET /boom",
        "boom",
        "failure",
    )


def test_without_a_finding_no_code_is_blamed():
    database = SITUATIONS["database"]
    assert found_in("quiet")["place"] is None
    # It has recovered 85 s ago: the samples of slow requests are those of the time before.
    quiet = SITUATIONS["quiet"]

    def recovering(name):
        usual, then = getattr(quiet, name), getattr(database, name)
        return lambda t: usual(t) if t > 130 else then(t)

    names = ("rate", "latency", "wait", "busy", "waiting", "cpu")
    recovered = {name: recovering(name) for name in names}
    scene = dataclasses.replace(database, **recovered).scene(AT)
    now = {**scene.now(AT), "threads": []}

    def history(span, step):
        answer = scene.history(AT, AT - span, AT, step)
        old = [one for one in answer["slow"] if one["began"] + one["seconds"] < AT - 85]
        assert old
        return {**answer, "slow": old}

    found = diagnosed(scene, AT, now=now, history=history(900, 5), long=history(3600, 20))
    assert (found["level"], found["place"]) == ("fine", None)


def test_old_samples_say_nothing_of_a_finding():
    scene = SITUATIONS["database"].scene(AT)
    now, history = {**scene.now(AT), "threads": []}, scene.history(AT, AT - 900, AT, 5)
    old = [one for one in history["slow"] if one["began"] + one["seconds"] < AT - 80]
    assert old and diagnosed(scene, AT, now=now)["place"]["source"] == "samples"
    assert diagnosed(scene, AT, now=now, history={**history, "slow": old})["place"] is None


@pytest.mark.parametrize("in_event", [False, True])
def test_the_code_of_a_failed_reload_is_the_last_line_of_its_traceback(in_event):
    event = (0.0, "reload_failed", "error", None, f"reload 4 has failed: {WHY}")
    why = {"reload": reload(state="failed", begun=4, ended=4, why="cannot load shop.wsgi:app")}
    found = found_in("quiet", now=why if in_event else FAILED, events=[event] if in_event else [])
    frame = found["place"]["frame"]
    assert (frame["file"], frame["line"]) == ("/srv/shop/shop/checkout.py", 3)
    assert frame["source"] == "import payments"


@pytest.mark.parametrize("started", [-3.0, 2.0, 90.0])
def test_nothing_began_before_the_server_was_started(started):
    scene = SITUATIONS["database"].scene(AT)
    begin = scene.began + started
    found = diagnosed(scene, AT, now={**scene.now(AT), "started": begin})
    assert found["worst"]["kind"] == "slow"
    assert max(begin, scene.began) <= found["since"] <= max(begin, scene.began) + 20
    assert all(one["since"] is None or one["since"] >= begin for one in found["list"])


@pytest.mark.parametrize(
    ("offset", "words"),
    [(-100, " after reload 4;"), (2, ", at reload 4;"), (30, None), (-200, None)],
)
def test_a_change_is_named_if_it_was_at_the_begin_or_shortly_before(offset, words):
    scene = SITUATIONS["database"].scene(AT)
    since = diagnosed(scene, AT, events=[])["since"]
    event = {"id": 1, "kind": "reload_done", "level": "info", "text": "reload 4 is done"}
    found = diagnosed(scene, AT, events=[{**event, "time": since + offset}])
    assert (found["change"] is not None) == (words is not None)
    if words:
        assert words in found["title"] and found["change"]["time"] <= found["since"]
    assert found["since"] == (since + offset if offset == 2 else since)


def test_responses_are_not_called_slow_while_a_window_still_has_old_ones():
    """Few requests: a window of two minutes has slow ones long after the recovery."""

    def few(t):
        return 0.6

    scene = dataclasses.replace(
        SITUATIONS["quiet"],
        rate=few,
        latency=lambda t: (2.0, 0.1) if 150 < t < 195 else (0.021, 0.1),
    ).scene(AT)
    assert diagnosed(scene, scene.began + 190)["worst"]["kind"] == "slow"
    assert diagnosed(scene, scene.began + 215)["level"] == "fine"


@pytest.mark.parametrize(
    ("file", "function", "words"),
    [
        ("/srv/shop/app.py", "reserve", "; 2 others are in it at shop/app.py:21"),
        ("/srv/shop/app.py", "release", "; 2 others are in it at shop/app.py:21"),
        ("/srv/shop/mail.py", "reserve", ""),
    ],
)
def test_a_lock_has_the_line_of_the_thread_that_runs_in_the_same_code(file, function, words):
    scene = SITUATIONS["database"].scene(AT)
    now = scene.now(AT)
    waiting = [{"file": "/srv/shop/app.py", "line": 19, "function": "reserve"}]
    running = [{"file": file, "line": 21, "function": function}]
    thread = now["threads"][0]
    threads = [{**thread, "activity": "lock", "frames": waiting}] * 12
    threads += [{**thread, "activity": "running", "frames": running}] * 2
    found = diagnosed(scene, AT, now={**now, "threads": threads})
    assert found["verdict"] == [
        "this application: a lock",
        "12 of 14 running threads wait for it" + words,
    ]


def test_requests_that_run_before_the_first_figures_are_no_silence():
    scene = SITUATIONS["nothing"].scene(AT)
    busy = SITUATIONS["quiet"].scene(AT).now(AT)
    found = diagnosed(scene, AT, now={**scene.now(AT), "threads": busy["threads"]})
    assert found["title"] == "Started 3.0 s ago; no figures yet"


@pytest.mark.parametrize(("ended", "level"), [(4, "warn"), (15, "fine")])
def test_a_path_is_not_called_slow_after_its_last_slow_request(ended, level):
    scene = SITUATIONS["quiet"].scene(AT)
    stack = [{"count": 5, "activity": "network 10.0.0.5:5432", "frames": []}]
    slow = [
        {"id": n, "label": "GET /users/*", "began": AT - ended - 2 - n, "seconds": 2.0}
        for n in range(20)
    ]
    history = {
        **scene.history(AT, AT - 900, AT, 5),
        "slow": [{**o, "samples": stack} for o in slow],
    }
    found = diagnosed(scene, AT, history=history)
    assert found["level"] == level, found["title"]
    assert (found["place"] is None) == (level == "fine")


@pytest.mark.parametrize(
    ("days", "mark", "kind"), [(-1, "bad", "certificate"), (1, "warn", "errors")]
)
def test_a_certificate_that_has_not_expired_hides_no_errors(days, mark, kind):
    names = {"names": ["shop.example"], "source": "acme", "expires_in_days": days}
    found = found_in(
        "quiet",
        now={"certificates": [names]},
        errors=lambda t: 0.02 if t > 0 else 0.0004,
    )
    assert (found["level"], found["worst"]["kind"]) == (mark, kind)
