"""What the page says is wrong, as a table: the page's own code in Node.js, without a browser."""

import json
import subprocess

import pytest
from harness.requirements import require_program

from window.page_source import script
from window.situations import SITUATIONS

PROGRAM = """
const cases = JSON.parse(require('fs').readFileSync(0, 'utf8'));
clocks.isUtc = true;
const found = cases.map(({now, history, long, events}) => {
  const result = diagnose({now, history, data: series(history), long: series(long), events});
  return {...result, verdict: verdict(result.place), since: result.since};
});
console.log(JSON.stringify(found));
"""
AT = 1_800_000_000.0
CLOCK = "07:56:2"


def diagnosed(scene, at, **changes):
    program = require_program("node", package="nodejs")
    case = {
        "now": scene.now(at),
        "history": scene.history(at, at - 900, at, 5),
        "long": scene.history(at, at - 3600, at, 20),
        "events": scene.events(0, end=at),
    }
    source = script("format.js", "model.js", "diagnose.js") + PROGRAM
    ran = subprocess.run(
        [program, "-e", source],
        input=json.dumps([{**case, **changes}]),
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    [found] = json.loads(ran.stdout)
    return {**found, "title": found["title"].replace("\xa0", " ").replace("\u202f", " ")}


@pytest.mark.parametrize(
    ("situation", "level", "title", "verdict"),
    [
        ("quiet", "fine", "Nothing stands out: 1", None),
        ("one_worker", "fine", "Nothing stands out: ", None),
        ("many", "fine", "Nothing stands out: ", None),
        ("nothing", "fine", "Started 3.0 s ago; no requests yet", "no thread runs a request"),
        ("overload", "bad", f"Overload since {CLOCK}", "this application: the GIL"),
        ("failing_reload", "warn", f"Reload 4 failed at {CLOCK}", None),
        ("dead_worker", "warn", f"Worker 2 was killed (SIGSEGV) at {CLOCK}", None),
        ("database", "bad", "p95 4.", "not this server: 10.0.0.5:5432 (PostgreSQL)"),
        ("hostile", "bad", "p95 4.", None),
    ],
)
def test_the_headline_says_what_is_wrong(situation, level, title, verdict):
    found = diagnosed(SITUATIONS[situation].scene(AT), AT)
    assert (found["level"], found["title"][: len(title)]) == (level, title)
    if verdict:
        assert found["verdict"][0] == verdict


def test_a_slow_database_is_named_with_the_reload_before_it():
    scene = SITUATIONS["database"].scene(AT)
    found = diagnosed(scene, AT)
    assert " after reload 4; 14 of 15 running requests wait for 10.0.0.5:5432" in found["title"]
    assert found["place"]["frame"]["function"] == "list_orders"
    assert found["place"]["label"] == "GET /orders/*"
    assert abs(found["since"] - scene.began) <= 20
    assert found["change"]["kind"] == "reload_done"


def test_nothing_is_wrong_before_an_incident_and_the_begin_does_not_move():
    scene = SITUATIONS["database"].scene(AT)
    before = diagnosed(scene, scene.began - 30)
    assert before["level"] == "fine" and "worst" not in before
    begins = [diagnosed(scene, scene.began + seconds)["since"] for seconds in (60, 400, 1500)]
    assert max(begins) - min(begins) <= 20, begins


def test_a_change_long_before_is_no_cause():
    scene = SITUATIONS["database"].scene(AT)
    events = [{**event, "time": event["time"] - 600} for event in scene.events(0)]
    assert diagnosed(scene, AT, events=events)["change"] is None


@pytest.mark.parametrize("absent", ["now", "history", "long", "events"])
def test_an_answer_that_is_missing_is_no_error(absent):
    for situation in ("database", "failing_reload"):
        assert diagnosed(SITUATIONS[situation].scene(AT), AT, **{absent: None})["title"]


def test_a_few_requests_are_judged_by_samples_of_slow_ones():
    scene = SITUATIONS["database"].scene(AT)
    found = diagnosed(scene, AT, now={**scene.now(AT), "threads": []})
    assert found["place"]["source"] == "samples"
    assert found["verdict"][0].startswith("not this server: 10.0.0.5:5432")


def slow_requests(label, times, seconds):
    stack = [{"count": 5, "activity": "network 10.0.0.5:5432", "frames": []}]
    return [
        {"id": time, "label": label, "began": time, "seconds": seconds, "samples": stack}
        for time in times
    ]


@pytest.mark.parametrize(
    ("recent", "before", "title"),
    [
        ((range(-50, -5, 9), 2.5), None, "GET /users/* takes 2.5 s since 07:59:1"),
        ((range(-290, -5, 9), 2.5), None, "GET /users/* takes 2.5 s since 07:55:10"),
        ((range(-50, -5, 9), 2.5), (range(-3500, -2500, 90), 0.9), "GET /users/* takes 2.5 s"),
        ((range(-50, -5, 9), 2.5), (range(-3500, -2500, 90), 2.1), "Nothing stands out"),
        ((range(-50, -32, 9), 2.5), None, "Nothing stands out"),
        ((range(-290, -100, 9), 2.5), None, "Nothing stands out"),
    ],
)
def test_a_path_that_takes_long_is_named_though_the_others_do_not(recent, before, title):
    at, label = AT, "GET /users/*"
    scene = SITUATIONS["quiet"].scene(at)

    def history(start, step, *parts):
        answer = scene.history(at, start, at, step)
        slow = [slow_requests(label, [at + t for t in part[0]], part[1]) for part in parts if part]
        return {**answer, "slow": sum(slow, [])}

    found = diagnosed(
        scene,
        at,
        history=history(at - 900, 5, recent),
        long=history(at - 3600, 20, recent, before),
    )
    assert found["title"].startswith(title)
    if found["level"] != "fine":
        assert found["level"] == "warn" and found["place"]["label"] == label
        assert " samples of slow requests wait for 10.0.0.5" in found["title"] or before


STANDARD_LIBRARY = "/usr/lib/python3.11/threading.py"


def test_code_of_python_itself_is_not_called_the_applications():
    scene = SITUATIONS["database"].scene(AT)
    now = scene.now(AT)
    waiting = [{"file": STANDARD_LIBRARY, "line": 355, "function": "wait"}]
    own = [*waiting, {"file": "/srv/shop/jobs.py", "line": 7, "function": "work"}]
    thread = now["threads"][0]
    few = [{**thread, "frames": waiting}] * 4
    found = diagnosed(scene, AT, now={**now, "threads": few})
    assert "frame" not in found["place"] or found["place"]["frame"] is None
    found = diagnosed(scene, AT, now={**now, "threads": [*few, {**thread, "frames": own}]})
    assert found["place"]["frame"]["function"] == "work"


OWN = "console.log(JSON.stringify(JSON.parse(require('fs').readFileSync(0)).map(isOwn)));"


def test_a_file_is_the_applications_or_not():
    files = {
        "/srv/shop/app.py": True,
        "/srv/python3.12/a.py": True,
        "/srv/lib/python3scripts/a.py": True,
        STANDARD_LIBRARY: False,
        "/root/.pyenv/versions/3.11.7/lib/python3.11/threading.py": False,
        "/usr/lib64/python3.13t/re.py": False,
        "/venv/lib/python3.12/site-packages/flask/app.py": False,
        "/usr/lib/python3/dist-packages/yaml/__init__.py": False,
        "<frozen importlib._bootstrap>": False,
    }
    program = require_program("node", package="nodejs")
    ran = subprocess.run(
        [program, "-e", script("format.js", "model.js") + OWN],
        input=json.dumps(list(files)),
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert dict(zip(files, json.loads(ran.stdout), strict=True)) == files


SINCE = """
const found = JSON.parse(require('fs').readFileSync(0)).map(rows => since({
  rows: rows.map(([time, isBad]) => ({time, isBad})), step: 5, to: rows[rows.length - 1][0] + 5,
}, row => row.isBad));
console.log(JSON.stringify(found));
"""


def test_an_incident_begins_after_a_gap_of_more_than_two_steps():
    rows = {
        ((100, 1), (105, 0), (110, 0), (115, 1)): 100,
        ((100, 1), (105, 0), (110, 0), (115, 0), (120, 1)): 120,
        ((100, 1), (115, 1)): 100,
        ((100, 1), (4000, 1), (4005, 1)): 4000,
        ((100, 1), (105, 0), (110, 0)): 100,
        ((100, 1), (105, 0), (110, 0), (115, 0)): None,
        ((100, 0),): None,
    }
    cases = list(rows)
    program = require_program("node", package="nodejs")
    ran = subprocess.run(
        [program, "-e", script("format.js", "model.js") + SINCE],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert json.loads(ran.stdout) == list(rows.values())


STEADY = """
clocks.isUtc = true;
const held = {result: null, at: 0}, slow = since => ({
  worst: {kind: 'slow', text: 'slow', detail: '', within: 5}, level: 'warn', since, change: null,
});
const fine = {worst: undefined, level: 'fine', title: 'fine'};
const found = [
  [slow(100), 101], [fine, 103], [slow(107), 108], [fine, 115], [fine, 117], [slow(190), 190],
].map(([result, time]) => steady(result, held, time))
  .map(({level, since, title}) => [level, since ?? null, title || '']);
console.log(JSON.stringify(found));
"""


def test_a_finding_stays_between_requests_in_step_and_keeps_its_begin():
    program = require_program("node", package="nodejs")
    source = script("format.js", "model.js", "diagnose.js") + STEADY
    ran = subprocess.run([program, "-e", source], capture_output=True, check=True, timeout=30)
    slow = "Slow since 00:01:40"
    assert json.loads(ran.stdout) == [
        ["warn", 100, ""],
        ["warn", 100, "Was slow until 00:01:41: slow"],
        ["warn", 100, slow],
        ["warn", 100, "Was slow until 00:01:48: slow"],
        ["fine", None, "fine"],
        ["warn", 190, ""],
    ]
