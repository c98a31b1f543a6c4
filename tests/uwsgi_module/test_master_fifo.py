"""uWSGI's commands through the master FIFO."""

import os
import stat
import time

from harness import eventually


def write(path, text):
    with path.open("w") as fifo:
        fifo.write(text)


def test_commands_do_what_they_do_in_uwsgi(start, tmp_path):
    path = tmp_path / "fifo"
    server = start("gates:app", "--master-fifo", str(path), workers=2)
    mode = path.stat().st_mode
    assert stat.S_ISFIFO(mode)
    assert stat.S_IMODE(mode) == 0o600
    before = set(server.workers())
    write(path, "+\n")
    eventually(lambda: len(server.workers()) == 3, what="a third worker")
    write(path, "-\n")
    eventually(lambda: len(server.workers()) == 2, what="two workers")
    write(path, "r")
    eventually(lambda: not before & set(server.workers()), what="a reload")
    eventually(lambda: len(server.workers()) == 2, what="two new workers")
    write(path, "s\n")
    server.wait_for_log(r"status: worker \d+ \(pid \d+\): serving, \d+ requests")
    write(path, "pX\n")
    server.wait_for_log(r"command 'p' is refused: workers are not suspended")
    server.wait_for_log(r"1 bytes are no command")
    write(path, "q")
    assert server.wait() == 0
    assert not path.exists()


def test_logs_are_reopened(start, tmp_path):
    path, log = tmp_path / "fifo", tmp_path / "error.log"
    server = start("gates:app", "--master-fifo", str(path), "--error-logfile", str(log), wait=False)
    eventually(lambda: log.exists() and "ready" in log.read_text(), what="it is ready")
    log.rename(tmp_path / "old.log")
    write(path, "l")
    eventually(log.exists, what="the log is there again")
    assert server.stop() == 0


def test_an_endless_writer_does_not_occupy_the_supervisor(start, tmp_path):
    path = tmp_path / "fifo"
    server = start("gates:app", "--master-fifo", str(path))
    writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    ticks = os.sysconf("SC_CLK_TCK")

    def cpu():
        fields = (open(f"/proc/{server.pid}/stat").read()).rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / ticks

    before, until = cpu(), time.monotonic() + 2
    while time.monotonic() < until:
        try:
            os.write(writer, b"x" * 4096)
        except BlockingIOError:
            time.sleep(0.001)
    assert cpu() - before < 0.5
    assert server.get("/").status == 200
    os.close(writer)
    assert server.stop() == 0


def test_a_file_at_the_path_is_not_replaced(start, tmp_path):
    path = tmp_path / "fifo"
    path.write_text("precious")
    server = start("gates:app", "--master-fifo", str(path), wait=False)
    assert server.wait() == 1
    assert "cannot create the master FIFO" in server.errors
    assert path.read_text() == "precious"


def test_a_fifo_of_a_dead_server_is_replaced(start, tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    server = start("gates:app", "--master-fifo", str(path))
    write(path, "Q")
    assert server.wait() == 0
