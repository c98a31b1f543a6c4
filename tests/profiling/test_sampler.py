"""Samples of threads: whole stacks, what threads wait for, and a worker that survives it all."""

import json
import os
import signal
import socket
import sys
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from harness import APPS, eventually, request, seccomp
from harness.admin import Admin
from harness.other_user import open_to_others, reachable_python
from harness.profiles import activities, running

SOURCE = (APPS / "sampled.py").read_text().splitlines()
HAS_QUALIFIED_NAMES = sys.version_info >= (3, 11)
# Python 3.10 sleeps in a select(2) without descriptors, which only its arguments distinguish.
SLEEP_BY_CHANNEL = "sleep" if sys.version_info >= (3, 11) else "waiting"


def line_of(text):
    [number] = [number for number, line in enumerate(SOURCE, 1) if text in line]
    return number


def admin_of(start, directory, *arguments, **options):
    return Admin(start, directory, "sampled:app", *arguments, workers=1, **options)


@pytest.fixture(scope="module")
def server(shared, tmp_path_factory):
    return admin_of(shared, tmp_path_factory.mktemp("admin"), "--threads", "6")


def profile_of(admin, path, query, seconds=1, rate=100, form="json"):
    with running(admin, path, seconds=query):
        return json.loads(admin.profile(seconds=seconds, rate=rate, format=form))


def most_frequent_stack(profile, function):
    """The frames of the stack with this function that was seen most, outermost first."""
    frames = profile["shared"]["frames"]
    wall = profile["profiles"][0]
    counted = Counter()
    for stack, weight in zip(wall["samples"], wall["weights"], strict=True):
        names = [frames[index]["name"] for index in stack]
        if any(function in name for name in names):
            counted[tuple(stack)] += weight
    stack, _ = counted.most_common(1)[0]
    return [frames[index] for index in stack]


def check_stack(profile):
    frames = most_frequent_stack(profile, "executed")
    own = [
        (frame["name"].split(" ")[0].rpartition(".")[2], frame.get("line"))
        for frame in frames
        if str(frame.get("file", "")).endswith(("sampled.py", "<gemacht ü>"))
    ]
    recursing = ("名前", line_of("return self.名前"))
    assert own[-11:] == [
        ("app", line_of('VIEWS[environ["PATH_INFO"]]')),
        ("sleep", line_of("Käse().名前")),
        *[recursing] * 3,
        ("名前", line_of("return sum(self.generator")),
        ("generator", line_of("yield sorted(")),
        ("<lambda>", line_of("key=lambda one")),
        ("executed", line_of('exec(compile("')),
        ("<module>", 3),
        ("<lambda>", line_of("Käse().名前")),
    ]
    if HAS_QUALIFIED_NAMES:
        assert any(frame["name"].startswith("Käse.generator") for frame in frames)


def test_a_stack_has_each_call_with_its_line(server):
    check_stack(profile_of(server, "/sleep", 3, form="speedscope"))


def test_workers_of_a_fork_server_are_sampled(start, tmp_path):
    admin = admin_of(start, tmp_path, "--threads", "2", "--preload")
    check_stack(profile_of(admin, "/sleep", 3, form="speedscope"))


def test_a_deep_stack_keeps_its_most_recent_frames(server):
    frames = most_frequent_stack(profile_of(server, "/deep", 700, form="speedscope"), "deep")
    calls = [frame for frame in frames if frame["name"].startswith("deep")]
    assert 500 < len(calls) <= 512
    assert calls[-1]["line"] == line_of("return time.sleep(2.5)")


def test_a_peer_is_named(server):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        for timeout in ("0", "3"):
            with running(server, "/receive", seconds=f"{port},{timeout}"):
                profile = json.loads(server.profile(seconds=1, rate=100, format="json"))
                # The view ends when its connection does.
                silent.accept()[0].close()
            [path] = [path for path in profile["paths"] if path["label"] == "GET /receive"]
            peers = {one["activity"] for one in path["activities"] if one["kind"] == "network"}
            assert peers == {f"network 127.0.0.1:{port}"}, path


def is_profiled(pid):
    """Whether a profile has begun: the files of system calls stay open during it."""
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            if path.readlink().name == "syscall":
                return True
    return False


def test_a_profile_does_not_wait_for_a_worker_that_has_ended(start, tmp_path):
    admin = admin_of(start, tmp_path, "--threads", "2")
    [pid] = admin.workers()
    said = []

    def ask():
        said.append(admin.ask_for_profile(seconds=600))

    asking = threading.Thread(target=ask)
    with admin.server.connect() as wire:
        wire.send(request("GET", "/sleep?60"))
        asking.start()
        eventually(lambda: is_profiled(pid), what="the worker is profiled")
        os.kill(pid, signal.SIGKILL)
        asking.join(30)
    assert [response.status for response in said] == [501], said
    assert b"worker 0: it has ended" in said[0].body


def test_a_child_is_waited_for(server):
    profile = profile_of(server, "/child", 2.5)
    assert activities(profile, "GET /child")["child"] > 0.7


def test_a_worker_survives_samples_while_everything_changes(server):
    [before] = server.workers()
    with running(server, *["/change"] * 4, seconds=4.5):
        profile = json.loads(server.profile(seconds=3, rate=1000, format="json"))
    assert server.workers() == [before]
    assert profile["rounds"] > 50
    assert profile["failed"] <= profile["rounds"] / 10, profile
    names = {line["function"] for line in profile["lines"]}
    assert any("recurse" in name for name in names), names


def test_a_worker_of_another_user_is_sampled(start, tmp_path):
    open_to_others(tmp_path)
    admin = admin_of(
        start, tmp_path, "--user", "nobody", "--threads", "2", prefix=reachable_python(tmp_path)
    )
    profile = profile_of(admin, "/sleep", 3)
    assert activities(profile, "GET /sleep")[SLEEP_BY_CHANNEL] > 0.7


@pytest.mark.skipif(not seccomp.KNOWS_THE_CALL, reason="another number of the call")
def test_a_worker_that_may_not_read_its_memory_says_so(start, tmp_path):
    prefix = [sys.executable, seccomp.__file__]
    admin = admin_of(start, tmp_path, "--threads", "2", prefix=prefix)
    said = admin.ctl("profile", "--seconds", "0.2")
    assert said.returncode != 0
    assert "process_vm_readv" in said.stdout + said.stderr
    # The rest works.
    assert [worker["problem"] for worker in admin.stacks()] == [None]
