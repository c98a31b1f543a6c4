"""With preload the application is imported once for all workers, in the fork server."""

import os
import signal
import textwrap

import pytest
from harness import eventually, run
from harness.other_user import open_to_others, reachable_python
from harness.process import children, is_alive, resident_bytes
from harness.steady import SteadyLoad

REPEATS = int(os.environ.get("LOCKGATE_TEST_REPEATS", "2"))

APP = """
import os
with open({note!r}, "a") as note:
    note.write(f"{{os.getpid()}} {{os.geteuid()}}\\n")
{preamble}

def app(environ, start_response):
    path = environ["PATH_INFO"]
    body = {version!r} if path == "/" else str(os.getpid())
    if path == "/fork":
        child = os.fork()
        if not child:
            return []
        os.waitpid(child, 0)
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body.encode()]
"""


class Site:
    """An application in a directory of its own, and who has imported it."""

    def __init__(self, directory):
        self.directory = directory
        self.note = directory / "imports"
        self.note.touch()
        self.note.chmod(0o666)

    def write(self, version="one", preamble=""):
        text = APP.format(note=str(self.note), version=version, preamble=textwrap.dedent(preamble))
        draft = self.directory / "site_app.py.new"
        draft.write_text(text)
        draft.rename(self.directory / "site_app.py")

    def imports(self):
        return [tuple(map(int, line.split())) for line in self.note.read_text().splitlines()]


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    site.write()
    return site


@pytest.fixture
def serve(site, start):
    def serve(*arguments, **options):
        options.setdefault("workers", 2)
        return start("site_app:app", "--preload", *arguments, chdir=site.directory, **options)

    return serve


def fork_servers(site, server):
    """The processes that have imported the application and are still there."""
    return [pid for pid, _ in site.imports() if is_alive(pid)]


def workers(site, server):
    return sorted(set(children(server.pid)) - {pid for pid, _ in site.imports()})


def test_the_import_happens_once_and_workers_come_back_without_another(site, serve):
    server = serve(workers=3)
    assert len(site.imports()) == 1
    assert len(workers(site, server)) == 3
    # What is on disk now is of no interest before a reload.
    site.write(preamble="import no_such_module_at_all")
    victim = int(server.get("/pid").body)
    os.kill(victim, signal.SIGKILL)
    server.wait_for_log(rf"\(pid {victim}\) was killed by SIGKILL .* it is replaced")
    eventually(lambda: len(workers(site, server)) == 3, what="three workers")
    server.signal(signal.SIGTTIN)
    eventually(lambda: len(workers(site, server)) == 4, what="four workers")
    assert server.get("/").body == b"one"
    assert len(site.imports()) == 1
    assert server.stop() == 0


def test_a_reload_loads_the_new_code_and_a_broken_one_leaves_the_old(site, serve):
    server = serve()
    (first,) = fork_servers(site, server)
    site.write("two", preamble="import no_such_module_at_all")
    before = workers(site, server)
    server.signal(signal.SIGHUP)
    line = server.wait_for_log(r"reload failed: .*")
    assert "cannot import site_app" in line and "old workers continue to serve" in line
    assert server.errors.count("No module named 'no_such_module_at_all'") == 1
    assert workers(site, server) == before
    assert server.get("/").body == b"one"
    site.write("two")
    server.signal(signal.SIGHUP)
    server.wait_for_log(r"reload: done")
    eventually(lambda: server.get("/").body == b"two", what="the new version")
    eventually(lambda: not any(map(is_alive, before)), what="the old workers have left")
    eventually(lambda: first not in fork_servers(site, server), what="the old fork server has gone")
    assert len(fork_servers(site, server)) == 1


@pytest.mark.parametrize(
    "preamble, code, reported",
    [
        ("import no_such_module_at_all", 3, "No module named 'no_such_module_at_all'"),
        ("raise RuntimeError('not today')", 3, "RuntimeError: not today"),
        ("del app", 4, "there is no 'app' in site_app"),
        ("os._exit(7)", 3, "exited with code 7 before it had loaded the application"),
        ("os.kill(os.getpid(), 11)", 3, "was killed by SIGSEGV"),
    ],
)
def test_an_application_that_cannot_be_loaded_ends_the_start_with_its_code_and_is_logged_once(
    site, preamble, code, reported
):
    site.write()
    path = site.directory / "site_app.py"
    path.write_text(path.read_text() + preamble + "\n")
    ended = run("site_app:app", "--preload", "-w", "4", "-b", "127.0.0.1:0", chdir=site.directory)
    assert ended.returncode == code, ended.stderr
    assert ended.stderr.count(reported) == 1, ended.stderr
    assert len(site.imports()) == 1


def test_an_import_that_takes_too_long_is_ended(site):
    site.write(preamble="import time; time.sleep(60)")
    ended = run(
        "site_app:app", "--preload", "--boot-timeout", "1s", "-b", "127.0.0.1:0",
        chdir=site.directory,
    )  # fmt: skip
    assert ended.returncode == 3, ended.stderr
    assert "has not loaded the application within 1.00 s (setting: boot_timeout)" in ended.stderr


def test_a_stop_does_not_wait_for_the_import(site, serve):
    site.write(preamble="import time; time.sleep(60)")
    server = serve(wait=False)
    (importing,) = eventually(lambda: site.imports(), what="the import has begun")
    assert server.stop(within=5) == 0
    assert not is_alive(importing[0])


def test_threads_and_sockets_that_the_import_leaves_are_named(site, serve):
    site.write(
        preamble="""
            import socket, threading
            threading.Thread(target=threading.Event().wait, name="metrics", daemon=True).start()
            listening = socket.create_server(("127.0.0.1", 0))
            place = listening.getsockname()
            connection = socket.create_connection(place)
        """
    )
    server = serve()
    line = server.wait_for_log(r"preload: the import of the application has left .*")
    assert "the thread 'metrics' is not copied to workers" in line
    assert "the socket at 127.0.0.1:" in line
    assert "the connection to 127.0.0.1:" in line
    assert "(AF_INET) is shared by all workers" in line


def test_an_import_that_leaves_nothing_is_not_warned_of(serve):
    server = serve("--admin-bind", "127.0.0.1:0", "--user", str(os.geteuid()))
    assert "WARNING" not in server.errors


def test_a_child_that_the_application_forks_is_not_a_worker(serve):
    server = serve(workers=1)
    assert server.get("/fork").status == 200
    assert "has returned from the application's call and exits now" in server.errors


def test_no_process_outlives_a_killed_supervisor(site, serve):
    server = serve()
    processes = children(server.pid)
    assert len(processes) == 3
    server.signal(signal.SIGKILL)
    server.wait()
    eventually(lambda: not any(map(is_alive, processes)), within=1.5, what="all are gone")


def test_the_application_is_imported_as_the_user_of_the_workers(site, start, tmp_path):
    open_to_others(tmp_path)
    server = start(
        "site_app:app", "--preload", "--user", "12345", "--group", "12345",
        chdir=tmp_path, workers=2, prefix=reachable_python(tmp_path),
    )  # fmt: skip
    assert [user for _, user in site.imports()] == [12345]
    assert server.get("/").body == b"one"


def test_an_import_as_another_user_does_not_outlive_a_killed_supervisor(site, start, tmp_path):
    open_to_others(tmp_path)
    site.write(preamble="import time; time.sleep(60)")
    server = start(
        "site_app:app", "--preload", "--user", "12345", "--group", "12345",
        chdir=tmp_path, prefix=reachable_python(tmp_path), wait=False,
    )  # fmt: skip
    ((importing, user),) = eventually(lambda: site.imports(), what="the import has begun")
    assert user == 12345
    server.signal(signal.SIGKILL)
    server.wait()
    eventually(lambda: not is_alive(importing), within=1.5, what="the fork server has gone")


def test_a_fork_server_that_cannot_make_workers_ends_the_start(site):
    site.write(preamble="import time; os.register_at_fork(before=lambda: time.sleep(60))")
    ended = run(
        "site_app:app", "--preload", "--boot-timeout", "1s", "-b", "127.0.0.1:0",
        chdir=site.directory,
    )  # fmt: skip
    assert ended.returncode == 3, ended.stderr
    assert "has not forked a worker within 1.00 s (setting: boot_timeout)" in ended.stderr


def test_a_fork_server_that_does_not_answer_is_replaced(site, serve):
    server = serve("--boot-timeout", "2s", workers=1)
    (fork_server,) = fork_servers(site, server)
    os.kill(fork_server, signal.SIGSTOP)
    os.kill(int(server.get("/pid").body), signal.SIGKILL)
    server.wait_for_log(r"cannot start worker 0: .* has not forked a worker within 2.00 s")
    eventually(lambda: len(workers(site, server)) == 1, what="another worker")
    assert server.get("/").body == b"one"
    assert fork_server not in fork_servers(site, server)


def test_a_fork_hook_that_hangs_once_costs_a_fork_server_and_no_server(site, serve, tmp_path):
    """Without boot_timeout, which is the default."""
    flag = tmp_path / "hangs"
    site.write(
        preamble=f"""
            import time
            def hook():
                while os.path.exists({str(flag)!r}):
                    time.sleep(0.05)
            os.register_at_fork(before=hook)
        """
    )
    server = serve(workers=1)
    (first,) = fork_servers(site, server)
    flag.touch()
    os.kill(int(server.get("/pid").body), signal.SIGKILL)
    server.wait_for_log(
        r"cannot start worker 0: .* has not forked a worker within 10.00 s \(does a hook", within=30
    )
    flag.unlink()
    eventually(lambda: server.get("/").body == b"one", what="another worker serves")
    assert first not in fork_servers(site, server) and len(site.imports()) == 2


def test_each_fork_hook_runs_once_for_a_worker(site, serve, tmp_path):
    """A pool that such a hook opens has threads, and its lock is held by none of them."""
    site.write(
        preamble=f"""
            def note(where):
                with open({str(tmp_path / "hooks")!r}, "a") as notes:
                    print(where, os.getpid(), file=notes)
            os.register_at_fork(
                before=lambda: note("before"),
                after_in_parent=lambda: note("parent"),
                after_in_child=lambda: note("child"),
            )
        """
    )
    server = serve(workers=2)
    (fork_server,) = fork_servers(site, server)
    expected = [f"child {pid}" for pid in workers(site, server)]
    expected += [f"{where} {fork_server}" for where in ("before", "parent") for _ in range(2)]

    def notes():
        return sorted((tmp_path / "hooks").read_text().splitlines())

    eventually(lambda: notes() == sorted(expected), what=f"{expected}")


@pytest.mark.slow
def test_workers_share_what_the_import_has_made(site, serve):
    site.write(preamble="hoard = [bytes([number % 251]) * 1_000_000 for number in range(100)]")
    server = serve(workers=4)
    for _ in range(8):
        assert server.get("/").status == 200
    processes = [*workers(site, server), *fork_servers(site, server)]
    assert len(processes) == 5
    assert all(resident_bytes(pid) > 100_000_000 for pid in processes)
    proportional = sum(proportional_bytes(pid) for pid in processes)
    assert proportional < 250_000_000, proportional


def proportional_bytes(pid):
    with open(f"/proc/{pid}/smaps_rollup") as lines:
        return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024


@pytest.mark.slow
def test_no_client_sees_a_reload_or_a_recycling(site, serve):
    server = serve("--max-requests", "50", workers=3)
    with SteadyLoad(server.address) as load:
        for number in range(REPEATS):
            site.write(f"version {number}")
            before = len(server.errors)
            server.signal(signal.SIGHUP)
            server.wait_for_log(r"reload: done", since=before)
            new = f"version {number}".encode()
            eventually(lambda: server.get("/").body == new, what="the new version")  # noqa: B023
            enough = load.ok + 200
            eventually(lambda: load.ok >= enough, what="200 more answers")  # noqa: B023
    assert load.failures == []
    assert "will be replaced: it has handled" in server.errors
    assert server.stop() == 0


def test_what_the_import_prints_is_written_once(site, start):
    """Standard output is a file here, which Python buffers."""
    site.write(
        preamble="""
        import sys
        print("printed at import")
        sys.stderr.write("written at import")
    """
    )
    environment = {"PYTHONUNBUFFERED": ""}
    server = start(
        "site_app:app", "--preload", chdir=site.directory, workers=3, environment=environment
    )
    assert server.stop() == 0
    assert server.output.count("printed at import") == 1
    assert server.errors.count("written at import") == 1


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_worker_that_was_forked_with_a_held_stream_is_replaced_by_another_fork(start, stream):
    # The first worker is made with the lock held, and the second without.
    environment = {"LOCKED": stream, "UNTIL": "2"}
    server = start("locked_stream:app", "--preload", environment=environment)
    assert server.get("/").body == b"fine"
    assert f"a write to sys.{stream} hangs in the worker" in server.errors
    assert "the fork server forks it again (attempt 1 of 5)" in server.errors
    assert "'logs-all-the-time' is not copied to workers" in server.errors


def test_a_fork_server_whose_workers_all_fail_stops_the_start(start):
    environment = {"LOCKED": "stdout", "UNTIL": "1000000"}
    server = start("locked_stream:app", "--preload", environment=environment, wait=False)
    assert server.wait(within=60) == 1
    assert "(attempt 5 of 5)" in server.errors
    assert "a write to sys.stdout hangs in the worker" in server.errors
