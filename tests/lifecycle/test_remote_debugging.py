"""Scripts that another process has a worker run (PEP 768), as `python -m pdb -p` does."""

import sys

import pytest
from harness import eventually
from harness.process import children

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 14), reason="Python runs scripts of other processes from 3.14 on"
)
SCRIPT = """
import threading
with open({note!r}, "w") as note:
    note.write(threading.current_thread().name)
"""


def run_remotely(pid, tmp_path):
    """Where the script will write the name of its thread."""
    note, script = tmp_path / "note", tmp_path / "script.py"
    script.write_text(SCRIPT.format(note=str(note)))
    sys.remote_exec(pid, str(script))
    return note


def test_a_worker_runs_a_script_of_another_process_without_a_request(start, tmp_path):
    server = start("hello:app", workers=1)
    (worker,) = children(server.pid)
    note = run_remotely(worker, tmp_path)
    eventually(lambda: note.exists() and note.read_text() == "MainThread", what="it has run")
    assert server.get("/").status == 200
    assert children(server.pid) == [worker]


def test_a_script_that_fails_ends_no_worker(start, tmp_path):
    server = start("hello:app", workers=1)
    (worker,) = children(server.pid)
    script = tmp_path / "script.py"
    script.write_text("raise ValueError('of the script')")
    sys.remote_exec(worker, str(script))
    server.wait_for_log("of the script")
    assert server.get("/").status == 200
    assert children(server.pid) == [worker]
