"""The garbage collector and the switch interval, as the application finds them."""

import json
import subprocess
import sys
import sysconfig

import pytest
from harness import Load, eventually
from harness.process import resident_bytes

IS_FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
#: It stops all threads for a collection, and decides itself when one is due.
idle = pytest.mark.skipif(IS_FREE_THREADED, reason="a free-threaded Python has no idle collection")


def state(server, path="/"):
    return json.loads(server.get(path).body)


def test_automatic_collection_stays_on_and_the_import_is_frozen_by_default(start):
    seen = state(start("collector:app"))
    assert seen["is_enabled"] and seen["frozen"] > 1000


def test_off_turns_the_collector_off_and_freezes_nothing(start):
    server = start("collector:app", "--gc", "off")
    before = state(server)
    for _ in range(20):
        seen = state(server, "/circles")
    # Python 3.12 freezes some objects of its own.
    code = "import gc; print(gc.get_freeze_count())"
    own = int(subprocess.check_output([sys.executable, "-c", code], timeout=30))
    assert (seen["is_enabled"], seen["frozen"]) == (False, own)
    assert seen["collections"] == before["collections"]


@idle
@pytest.mark.parametrize("threads", ["auto", "1"])
def test_idle_collects_between_requests_and_never_in_one(start, threads):
    server = start("collector:app", "--gc", "idle", "--threads", threads)
    with Load(server.address, clients=1, path="/circles") as load:
        eventually(lambda: load.ok >= 300, what="300 answers")
    assert not load.failures
    seen = state(server)
    assert not seen["is_enabled"] and seen["frozen"] > 1000
    # Each request leaves 500 circles of two containers each.
    young, middle, _ = seen["generations"]
    assert young >= 50 and middle >= 5, seen
    assert seen["in_request"] == 0, seen


@idle
def test_idle_keeps_memory_bounded_when_few_objects_hold_much(start):
    server = start("collector:app", "--gc", "idle")
    [worker] = server.workers()
    before, full = resident_bytes(worker), state(server)["generations"][2]

    # Each request leaves 200 KB behind and hardly an object: no count of containers shows it.
    def is_collected():
        seen = state(server, "/large")
        return seen["generations"][2] > full and seen

    eventually(is_collected, within=30, what="a full collection")
    seen = state(server)
    assert seen["alive"] < seen["made"] / 2, seen
    assert resident_bytes(worker) - before < seen["made"] * 100_000 / 2 + 64_000_000


@idle
def test_idle_collects_what_threads_of_the_application_leave_when_no_request_comes(start, tmp_path):
    server = start("collector:app", "--gc", "idle")
    collected = tmp_path / "collected"
    state(server, f"/background?{collected}")
    (tmp_path / "collected.answered").touch()
    eventually(collected.exists, what="a collection without a request")


@idle
def test_no_response_waits_for_the_full_collection_after_it(start, tmp_path):
    server = start("collector:app", "--gc", "idle")
    full = state(server)["generations"][2]
    gate = tmp_path / "gate"
    # Answered though nothing has opened the gate, and so are those that come meanwhile.
    assert state(server, f"/held?{gate}")["generations"][2] == full
    eventually(lambda: state(server)["generations"][2] == full + 1, what="the held collection")
    assert not gate.exists()
    gate.touch()
    assert server.stop() == 0


@pytest.mark.skipif(not IS_FREE_THREADED, reason="only a free-threaded Python")
def test_idle_is_freeze_with_a_free_threaded_python(start):
    server = start("collector:app", "--gc", "idle")
    server.wait_for_log("is the same as .freeze. with a free-threaded Python")
    seen = state(server)
    assert seen["is_enabled"] and seen["frozen"] > 1000


@idle
def test_an_application_that_turned_the_collector_off_is_left_to_it(start):
    server = start("collector:app", "--gc", "idle", environment={"COLLECTOR": "disabled"})
    server.wait_for_log("has disabled the garbage collector")
    for _ in range(20):
        seen = state(server, "/circles")
    assert (seen["is_enabled"], seen["generations"][:2]) == (False, [0, 0])


@idle
def test_an_application_that_turns_the_collector_on_has_it_from_then_on(start):
    server = start("collector:app", "--gc", "idle")
    assert state(server, "/enable")["is_enabled"]
    for _ in range(20):
        seen = state(server, "/circles")
    assert seen["is_enabled"] and seen["in_request"] > 0, seen


@idle
def test_processes_that_the_application_forks_collect_by_themselves(start):
    seen = state(start("collector:app", "--gc", "idle"), "/fork")
    assert (seen["is_enabled"], seen["is_enabled_in_child"]) == (False, True)


@pytest.mark.parametrize(("given", "seconds"), [("2ms", 0.002), ("500us", 0.0005), ("0.01", 0.01)])
def test_the_application_sees_the_switch_interval(start, given, seconds):
    server = start("collector:app", "--switch-interval", given)
    assert state(server)["switch_interval"] == pytest.approx(seconds)


def test_an_application_that_sets_a_switch_interval_keeps_it(start):
    server = start(
        "collector:app", "--switch-interval", "2ms", environment={"SWITCH_INTERVAL": "0.003"}
    )
    assert state(server)["switch_interval"] == pytest.approx(0.003)
