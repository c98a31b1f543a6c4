"""An application that leaks 1 MB a request holds as much memory in the end as at first, and serves.

LOCKGATE_TEST_LEAK_REQUESTS says how many requests are asked.
"""

import os
import time

import pytest
from harness.process import resident_bytes
from harness.steady import SteadyLoad

REQUESTS = int(os.environ.get("LOCKGATE_TEST_LEAK_REQUESTS", "1500"))
# A third more than they take.
PATIENCE = 60 + REQUESTS // 45
MIB = 1 << 20
# Two workers, the replacement of one, and one that still leaves: 150 MiB each, and what a second
# and the boot of a replacement add.
MOST = 700 * MIB

LEAKING = """
LEAK = []

def app(environ, start_response):
    # Touched, so that it is really held.
    LEAK.append(bytearray(b"x") * 1_000_000)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


def tree_bytes(server):
    total = 0
    for pid in [server.pid, *server.workers()]:
        try:
            total += resident_bytes(pid)
        except (FileNotFoundError, ProcessLookupError, AssertionError):
            # It has left meanwhile.
            continue
    return total


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE + 60)
def test_a_leak_of_a_megabyte_a_request_costs_no_request_and_no_more_memory(start, tmp_path):
    assert REQUESTS * 1_000_000 > MOST, "a leak would not be seen"
    (tmp_path / "leaking.py").write_text(LEAKING)
    server = start("leaking:app", "--max-worker-memory", "150MiB", workers=2, chdir=tmp_path)
    peaks = []
    deadline = time.monotonic() + PATIENCE
    with SteadyLoad(server.address, rate=60) as load:
        while load.ok + len(load.failures) < REQUESTS:
            peaks.append(tree_bytes(server))
            assert time.monotonic() < deadline, (load.ok, server.errors)
            time.sleep(0.05)
    assert load.failures == []
    replaced = server.errors.count("will be replaced: it uses")
    most, median = max(peaks) // MIB, sorted(peaks)[len(peaks) // 2] // MIB
    print(f"{load.ok} requests, {replaced} workers replaced; at most {most} MiB, median {median}")
    assert max(peaks) < MOST
    # Each holds 150 of them, and some that came while its replacement booted.
    assert replaced >= REQUESTS // 400
