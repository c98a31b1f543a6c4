"""Free-threaded Python (PEP 703): the GIL stays disabled, and a worker has several event loops."""

import json
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness import eventually

pytestmark = pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python always has a GIL"
)
#: What the tests themselves import may have enabled the GIL here; servers have it disabled.
DISABLED = {"PYTHON_GIL": "0"}


def test_the_extension_module_leaves_the_gil_disabled():
    code = "import sys, lockgate._lockgate; sys.exit(sys._is_gil_enabled())"
    # Python warns of a module that enables it.
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=30)


def test_a_gil_that_the_operator_enables_refuses_several_event_loops():
    lockgate = [sys.executable, "-m", "lockgate", "gates:app"]
    apps = Path(__file__).parents[1] / "apps"
    for gil, code in (("0", 0), ("1", 2)):
        ended = subprocess.run(
            [*lockgate, "--event-loops", "2", "--check-config"],
            cwd=apps,
            env={"PYTHON_GIL": gil},
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert ended.returncode == code, ended.stderr
    assert "event_loops = 2 (from --event-loops): must be 1" in ended.stderr


def test_calls_of_two_event_loops_run_at_the_same_time(start):
    # One call at a time in each event loop: two that meet are in both.
    server = start("unlocked:app", "--event-loops", "2", "--threads", "1", environment=DISABLED)

    def two_have_met():
        # The kernel may give all connections to one event loop: then the next ones may meet.
        with ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(lambda _: json.loads(server.get("/").body), range(8)))
        assert not any(answer["has_gil"] for answer in answers), answers
        return any(answer["has_met"] for answer in answers)

    eventually(two_have_met, within=60, what="two calls at the same time")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_several_event_loops_serve_under_load_and_signals():
    soak = ["--seconds", "20", "--only", "plain", "--event-loops", "2"]
    ended = subprocess.run(
        [sys.executable, "-X", "gil=0", "-m", "soak", *soak],
        cwd=Path(__file__).parents[1],
        env={"PATH": "/usr/bin:/bin", **DISABLED},
        capture_output=True,
        text=True,
        timeout=380,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
