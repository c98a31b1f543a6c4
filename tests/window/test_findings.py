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
