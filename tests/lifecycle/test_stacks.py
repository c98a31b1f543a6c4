"""Thread dumps of every worker, also of one that a C call blocks; without side effects."""

import os
import threading
from pathlib import Path

from harness import APPS, eventually, request
from harness.admin import Admin
from harness.steady import SteadyLoad


def line_of(app, text):
    """The number of the first line of an application that is this."""
    lines = (APPS / f"{app}.py").read_text().splitlines()
    return 1 + [line.strip() for line in lines].index(text)


def frames_of(admin, target):
    """The stack of the thread that runs a request for this, when there is one."""
    for worker in admin.stacks():
        for thread in worker["threads"]:
            if thread["request"] is not None and thread["request"]["target"] == target:
                return [
                    (frame["file"], frame["line"], frame["function"]) for frame in thread["frames"]
                ]
    return None


def test_a_request_that_sleeps_is_shown_with_its_file_and_line(start, tmp_path):
    admin = Admin(start, tmp_path, "late:app", workers=2)
    with admin.server.connect() as wire:
        wire.send(request("GET", "/sleep"))
        frames = eventually(lambda: frames_of(admin, "/sleep"), what="its stack")
    file = str(APPS / "late.py")
    assert frames[0] == (file, line_of("late", "time.sleep(600)"), "long_sleep")
    assert frames[1] == (file, line_of("late", "long_sleep()"), "sleep")
    assert frames[2][2] == "app"
    said = admin.ctl("stacks")
    assert said.returncode == 0, said
    assert f"{file}:{frames[0][1]} in long_sleep" in said.stdout
    for worker in admin.status()["workers"]:
        assert f"worker {worker['slot']} (pid {worker['pid']})\n" in said.stdout


def test_a_call_that_holds_the_gil_is_shown_and_affects_no_other_worker(start, tmp_path):
    admin = Admin(start, tmp_path, "late:app", "--threads", "2", workers=2)
    with admin.server.connect() as wire:
        wire.send(request("GET", "/hold-interpreter"))
        frames = eventually(lambda: frames_of(admin, "/hold-interpreter"), what="its stack")
        line = line_of("late", "ctypes.PyDLL(None).sleep(600)")
        assert frames[0] == (str(APPS / "late.py"), line, "hold_interpreter")
        # Time and again, and orders are obeyed as before.
        assert frames_of(admin, "/hold-interpreter") == frames
        assert [worker["problem"] for worker in admin.stacks()] == [None, None]
        (held,) = [worker for worker in admin.status()["workers"] if worker["threads_busy"]]
        assert held["state"] == "serving"
        assert admin.ctl("workers", "-1").returncode == 0
        eventually(
            lambda: (
                "draining" in [worker["state"] for worker in admin.status()["workers"]]
                or len(admin.workers()) == 1
            ),
            what="one worker drains",
        )


def test_looking_at_stacks_a_hundred_times_fails_no_request(start, tmp_path):
    admin = Admin(start, tmp_path, "recursive:app", workers=2)
    workers = sorted(admin.workers())
    seen = set()
    with SteadyLoad(admin.server.address, rate=80) as load:
        for _ in range(100):
            for worker in admin.stacks():
                assert worker["problem"] is None
                seen.update(
                    frame["function"] for thread in worker["threads"] for frame in thread["frames"]
                )
        enough = load.ok + 50
        eventually(lambda: load.ok >= enough, what="50 more answers")
    assert load.failures == []
    assert sorted(admin.workers()) == workers
    assert "go_down" in seen


def test_other_requests_are_answered_while_stacks_are_collected(start, tmp_path):
    admin = Admin(start, tmp_path, "late:app", "--threads", "2", workers=1)
    with admin.server.connect() as wire:
        wire.send(request("GET", "/hold-interpreter"))
        eventually(lambda: admin.status()["workers"][0]["threads_busy"], what="the call")
        answers = []
        asking = threading.Thread(target=lambda: answers.append(admin.ask("/stacks").status))
        asking.start()
        statuses = set()
        while asking.is_alive():
            assert admin.ask("/healthz").status == 200
            statuses.add(admin.ask("/stacks").status)
        asking.join()
        assert {*answers, *statuses} <= {200, 503} and 200 in {*answers, *statuses}
        # A client that is asked to try again does so.
        assert admin.ctl("stacks").returncode == 0


def test_an_application_keeps_its_own_signal_and_its_own_faulthandler(start, tmp_path):
    admin = Admin(start, tmp_path, "own_faulthandler:app", "--threads", "2", workers=1)
    notes = tmp_path / "notes"
    assert admin.server.get(f"/register?{notes}").status == 200
    for _ in range(3):
        assert admin.stacks()[0]["problem"] is None
    assert notes.read_text() == ""
    assert admin.server.get("/show").body == b"0", "the application's signal was not sent"
    assert "most recent call first" in eventually(notes.read_text, what="its own stacks")
    with admin.server.connect() as wire:
        wire.send(request("GET", "/hold-interpreter"))
        eventually(lambda: admin.status()["workers"][0]["threads_busy"], what="the call")
        said = admin.ctl("stacks")
        assert said.returncode == 0
        assert "the application handles the signal" in said.stdout


def test_without_an_admin_listener_a_worker_has_no_thread_for_stacks(start):
    server = start("hello:app", workers=1)
    assert server.get("/").status == 200
    (worker,) = server.workers()
    tasks = Path(f"/proc/{worker}/task")
    names = {(tasks / task / "comm").read_text().strip() for task in os.listdir(tasks)}
    assert not {name for name in names if name.startswith("lockgate-st")}, names


def test_every_thread_has_the_number_of_the_kernel(start, tmp_path):
    admin = Admin(start, tmp_path, "late:app", "--threads", "2", workers=1)
    (worker,) = admin.stacks()
    numbers = [thread["thread"] for thread in worker["threads"]]
    known = {int(task) for task in os.listdir(f"/proc/{worker['pid']}/task")}
    assert set(numbers) <= known
    # The main thread's number is that of its process.
    assert worker["pid"] in numbers
