"""`capture_output`: what a process prints follows the file of the error log."""

import signal

from harness import eventually


def test_what_the_application_prints_is_in_the_file_and_follows_it(start, tmp_path):
    path = tmp_path / "error.log"
    server = start(
        "printing:app",
        *("--error-logfile", str(path), "--capture-output"),
        wait=False,
    )
    eventually(lambda: path.exists() and "is ready" in path.read_text(), what="it is ready")
    server.get("/first")
    eventually(lambda: "on stdout: /first\n" in path.read_text(), what="stdout")
    eventually(lambda: "on stderr: /first\n" in path.read_text(), what="stderr")
    path.rename(tmp_path / "old.log")
    server.signal(signal.SIGUSR1)
    eventually(path.exists, what="a new file")

    def is_moved():
        server.get("/second")
        text = path.read_text()
        return "on stdout: /second\n" in text and "on stderr: /second\n" in text

    eventually(is_moved, what="both streams in the new file")
    assert server.output == "" and server.errors == ""
    assert server.stop() == 0


def test_without_a_file_it_has_no_effect(start):
    server = start("printing:app", "--capture-output")
    server.get("/x")
    eventually(lambda: "on stdout: /x\n" in server.output, what="stdout")
    server.wait_for_log(r"on stderr: /x\n")
