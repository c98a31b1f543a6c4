"""Profiles of programs whose time is in known places: a hot line, C code, and a lock."""

import json
import re
import threading

import pytest
from harness import APPS, request
from harness.admin import Admin
from harness.profiles import activities, running

SOURCE = (APPS / "profiled.py").read_text().splitlines()
RATE = 100


def line_of(comment):
    """The number of the line with this comment."""
    [number] = [number for number, line in enumerate(SOURCE, 1) if f"# {comment}" in line]
    return number


@pytest.fixture(scope="module")
def server(shared, tmp_path_factory):
    directory = tmp_path_factory.mktemp("admin")
    return Admin(shared, directory, "profiled:app", "--threads", "4", workers=1)


def profile_during(admin, *paths):
    """A profile, as JSON, while these paths are requested."""
    with running(admin, *paths, seconds=2.5):
        return json.loads(admin.profile(seconds=1, rate=RATE, format="json"))


def spent(profile, comment):
    """The share of a line, as it is itself, in the wall time of its profile."""
    seconds = [
        line["self"]
        for line in profile["lines"]
        if line["file"].endswith("/profiled.py") and line["line"] == line_of(comment)
    ]
    return sum(seconds) / profile["seconds"]


def test_a_hot_line_is_the_first_of_the_profile(server):
    profile = profile_during(server, "/compute")
    assert spent(profile, "the hot line") > 0.8
    hottest = profile["lines"][0]
    assert (hottest["short"], hottest["line"]) == ("profiled.py", line_of("the hot line"))
    assert activities(profile, "GET /compute")["running"] > 0.7


def test_c_code_is_seen_in_the_line_that_calls_it(server):
    for path, comment in [("/match", "holds the GIL"), ("/compress", "releases the GIL")]:
        profile = profile_during(server, path)
        assert spent(profile, comment) > 0.7, profile["lines"][:5]
        assert activities(profile, f"GET {path}")["running"] > 0.7


def test_what_threads_wait_for_is_named(server):
    profile = profile_during(server, "/hold", "/lock", "/match", "/match")
    assert activities(profile, "GET /hold")["sleep"] > 0.7
    assert activities(profile, "GET /lock")["lock"] > 0.7
    assert activities(profile, "GET /match")["gil"] > 0.2, "two threads share one GIL"
    assert spent(profile, "has the lock") > 0.15
    assert spent(profile, "waits for the lock") > 0.15


def test_what_an_epoll_descriptor_waits_for_is_named(server):
    profile = profile_during(server, "/select", "/loop")
    assert activities(profile, "GET /select")["network"] > 0.7
    assert activities(profile, "GET /loop").get("network", 0) == 0, "it wakes itself by a socket"


def test_short_requests_are_not_lost(server):
    """Several end while a round of samples is taken."""
    is_over = threading.Event()

    def ask():
        with server.server.connect() as wire:
            while not is_over.is_set():
                wire.send(request("GET", "/brief"))
                assert wire.response().status == 200

    clients = [threading.Thread(target=ask) for _ in range(3)]
    for client in clients:
        client.start()
    try:
        profile = json.loads(server.profile(seconds=1.5, rate=RATE, format="json"))
    finally:
        is_over.set()
        for client in clients:
            client.join()
    nodes = profile["nodes"]
    seconds = {}
    for node in nodes:
        if node.get("line") == line_of("a short request"):
            while nodes[node["parent"]]["kind"] != "all":
                node = nodes[node["parent"]]
            seconds[node["name"]] = seconds.get(node["name"], 0) + node["seconds"]
    assert seconds.get("GET /brief", 0) > 4 * seconds.get("threads without a request", 0)


def test_the_profile_is_written_in_every_format(server, tmp_path):
    formats = {
        "a.svg": r"<title>compute \(profiled\.py:\d+\)",
        "a.json": r'"name":"compute"',
        "a.txt": r"compute \(profiled\.py:\d+\)",
    }
    for name, pattern in formats.items():
        # On a busy machine a second passes before the command samples.
        with running(server, "/compute", seconds=4):
            said = server.ctl("profile", "--seconds", "0.3", "-o", str(tmp_path / name))
        assert said.returncode == 0, said
        assert re.search(pattern, (tmp_path / name).read_text()), name
