"""USR2: another version of the server continues in the same process, and no client is affected."""

import os
import shutil
import signal
import stat
import sys
import textwrap
import time
from pathlib import Path

import pytest
from harness import eventually
from harness.process import children, is_alive, process_stat
from harness.steady import SteadyLoad

REPEATS = int(os.environ.get("LOCKGATE_TEST_REPEATS", "2"))

APP = """
import os
{preamble}

def app(environ, start_response):
    body = {version!r} if environ["PATH_INFO"] == "/" else str(os.getpid())
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body.encode()]
"""


def write(directory, version, preamble=""):
    text = APP.format(version=version, preamble=textwrap.dedent(preamble))
    draft = directory / "site_app.py.new"
    draft.write_text(text)
    draft.rename(directory / "site_app.py")


@pytest.fixture
def site(tmp_path):
    write(tmp_path, "one")
    return tmp_path


@pytest.fixture
def serve(site, start):
    def serve(*arguments, **options):
        options.setdefault("workers", 2)
        return start("site_app:app", *arguments, chdir=site, **options)

    return serve


def upgrade(server, outcome, within=20.0):
    before = len(server.errors)
    server.signal(signal.SIGUSR2)
    server.wait_for_log(outcome, within=within, since=before)
    return server.errors[before:]


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.mark.slow
@pytest.mark.parametrize("preload", [(), ("--preload",)])
def test_no_client_sees_an_upgrade_and_nothing_is_left_open(serve, site, preload):
    server = serve("--pid", str(site / "pid"), "--admin-bind", "unix:admin.sock", *preload)
    server.get("/")
    pid, before = server.pid, None
    with SteadyLoad(server.address) as load:
        for number in range(REPEATS):
            old = server.workers()
            write(site, f"version {number}")
            upgrade(server, r"reload: done in")
            # The old workers were asked to leave a moment ago, and take what waits in the queue.
            new = f"version {number}".encode()
            eventually(lambda: server.get("/").body == new, what="the new version")  # noqa: B023
            eventually(lambda: not set(old) & set(server.workers()), what="the old have left")  # noqa: B023
            enough = load.ok + 100
            eventually(lambda: load.ok >= enough, what="100 more answers")  # noqa: B023
            before = before or descriptors(pid)
            assert descriptors(pid) <= before
    assert load.failures == []
    assert server.process.poll() is None and server.pid == pid
    assert (site / "pid").read_text() == f"{pid}\n"
    assert server.stop() == 0
    assert not (site / "admin.sock").exists() and not (site / "pid").exists()


def test_a_failed_load_keeps_the_old_workers(serve, site):
    server = serve("--admin-bind", "unix:admin.sock")
    before = set(server.workers())
    write(site, "two", "import no_such_module_at_all")
    reported = upgrade(server, r"reload failed: .*")
    assert "No module named 'no_such_module_at_all'" in reported
    assert server.get("/").body == b"one"
    # Apart from the process that answers operators, which is a new one.
    assert len(before & set(server.workers())) == 2
    write(site, "three")
    server.signal(signal.SIGHUP)
    server.wait_for_log("reload: done")
    eventually(lambda: server.get("/").body == b"three", what="the new version")


def test_wrong_settings_keep_the_old_program(serve, site):
    (site / "lockgate.toml").write_text("workers = 2\n")
    server = serve(workers=None)
    workers = server.workers()
    (site / "lockgate.toml").write_text("workerz = 2\n")
    reported = upgrade(server, r"upgrade failed: .*\n?.*workerz.*")
    assert "the running version continues" in reported
    assert server.workers() == workers
    assert server.get("/").body == b"one"


def interpreter_of_its_own(directory):
    """A virtual environment with what is installed here, that a test may break."""
    home = directory / "home"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "python").symlink_to(os.path.realpath(sys.executable))
    settings = Path(sys.prefix, "pyvenv.cfg")
    shutil.copy(settings, home / "pyvenv.cfg")
    packages = home / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    packages.mkdir(parents=True)
    import lockgate

    shutil.copytree(Path(lockgate.__file__).parent, packages / "lockgate")
    return home / "bin" / "python", packages / "lockgate"


def serve_from(python, start, site):
    """A server that runs from another interpreter."""
    launcher = site / "launch"
    launcher.write_text(f'#!/bin/sh\nshift\nexec {python} "$@"\n')
    launcher.chmod(launcher.stat().st_mode | stat.S_IXUSR)
    return start("site_app:app", chdir=site, workers=2, prefix=[str(launcher)])


@pytest.mark.skipif(
    not Path(sys.prefix, "pyvenv.cfg").exists(), reason="Python is in no virtual environment"
)
def test_an_upgrade_runs_the_package_on_disk_and_refuses_a_broken_one(start, site):
    python, package = interpreter_of_its_own(site)
    server = serve_from(python, start, site)
    workers = server.workers()
    face = package / "__init__.py"
    good = face.read_text()
    face.write_text("raise ImportError('half a package')\n")
    reported = upgrade(server, r"upgrade failed: .*\n(.*\n)*.*half a package.*")
    assert "the running version continues" in reported
    assert server.workers() == workers
    assert server.get("/").body == b"one"
    face.write_text(f"{good}\nimport sys\nprint('the other version', file=sys.stderr)\n")
    reported = upgrade(server, r"reload: done in")
    assert "the other version" in reported
    assert server.get("/").body == b"one"
    assert server.stop() == 0


def test_signals_on_the_way_are_neither_lost_nor_deadly(serve, site):
    server = serve("--error-logfile", str(site / "log"), wait=False)
    log = site / "log"

    def reported(what):
        return log.read_text().count(what) if log.exists() else 0

    eventually(lambda: reported("workers are ready"), what="two workers")
    upgrades, reloads = "replacing the program of this process", "reload: done"
    for _ in range(3 * REPEATS):
        before, done = reported(upgrades), reported(reloads)
        server.signal(signal.SIGUSR2)
        eventually(lambda: reported(upgrades) > before, what="an upgrade")  # noqa: B023
        # Python starts now, and none of these has a handler yet.
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU):
            server.signal(number)
        # The upgrade's own, and the one that was asked for.
        eventually(lambda: reported(reloads) == done + 2, within=20, what="two reloads")  # noqa: B023
    before = reported(upgrades)
    server.signal(signal.SIGUSR2)
    eventually(lambda: reported(upgrades) > before, what="an upgrade")
    assert server.stop() == 0


def test_a_stop_while_the_program_on_disk_is_tried_is_a_stop(serve, site):
    server = serve()
    family = children(server.pid)
    server.signal(signal.SIGUSR2)
    server.wait_for_log("trying the program on disk")
    assert server.stop(within=10) == 0
    assert not any(map(is_alive, family))


def rests(pid):
    """Whether a process sleeps, and has not run for a moment."""
    looks = [process_stat(pid)]
    for _ in range(10):
        time.sleep(0.02)
        looks.append(process_stat(pid))
    return {look[0] for look in looks} == {"S"} and looks[0][11:13] == looks[-1][11:13]


def test_a_stop_that_arrives_with_an_upgrade_is_a_stop(serve, site):
    gate = site / "gate"
    gate.touch()
    write(site, "one", f"while not os.path.exists({str(gate)!r}): pass")
    server = serve(workers=1)
    (old,) = server.workers()
    server.signal(signal.SIGUSR2)
    server.wait_for_log("trying the program on disk")
    (trial,) = eventually(lambda: set(server.workers()) - {old}, what="the trial has begun")
    os.kill(trial, signal.SIGSTOP)
    gate.unlink()
    # The upgrade waits for a worker that boots; the trial stands still until there is one.
    server.signal(signal.SIGTTIN)
    server.wait_for_log("number of workers increased")
    os.kill(trial, signal.SIGCONT)
    eventually(lambda: len(server.workers()) == 2, what="the program on disk has been tried")
    (new,) = set(server.workers()) - {old}
    # Each of the two is stopped while the other one speaks, so that the supervisor hears of both
    # at once: the worker serves, and the server is to stop.
    server.signal(signal.SIGSTOP)
    gate.touch()
    eventually(lambda: rests(new), what="the worker is ready")
    os.kill(new, signal.SIGSTOP)
    server.signal(signal.SIGCONT)
    server.wait_for_log(rf"\(pid {new}\) ready")
    server.signal(signal.SIGSTOP)
    os.kill(new, signal.SIGCONT)
    eventually(lambda: rests(new), what="the worker serves")
    server.signal(signal.SIGTERM)
    server.signal(signal.SIGCONT)
    assert server.wait(within=10) == 0


def test_the_number_of_workers_that_signals_have_set_stays(serve, site):
    server = serve()
    server.signal(signal.SIGTTIN)
    eventually(lambda: len(server.workers()) == 3, what="three workers")
    server.wait_for_log(r"worker 2 \(pid \d+\) ready")
    old = set(server.workers())
    upgrade(server, r"reload: done in .*, 3 new workers serve")
    eventually(lambda: not old & set(server.workers()), what="the old workers have left")
    assert len(server.workers()) == 3


def test_a_new_address_is_bound_and_a_removed_one_is_closed(serve, site, start):
    config = site / "lockgate.toml"
    config.write_text("bind = ['unix:one.sock', 'unix:two.sock']\n")
    server = start("site_app:app", chdir=site, bind=[], workers=1)
    config.write_text("bind = ['unix:two.sock', 'unix:three.sock']\n")
    inode = (site / "two.sock").stat().st_ino
    upgrade(server, r"reload: done in")
    assert not (site / "one.sock").exists()
    assert (site / "two.sock").stat().st_ino == inode
    for name in ("two.sock", "three.sock"):
        server.address = str(site / name)
        assert server.get("/").body == b"one"
    assert server.stop() == 0
    assert not list(site.glob("*.sock"))


def test_an_application_does_not_see_what_is_handed_over(serve, site):
    preamble = "seen = ','.join(sorted(name for name in os.environ if 'HANDOVER' in name))"
    write(site, "one", preamble)
    text = (site / "site_app.py").read_text().replace("'one'", "'seen:' + seen")
    (site / "site_app.py").write_text(text)
    server = serve(workers=1)
    upgrade(server, r"reload: done in")
    assert server.get("/").body == b"seen:"


def test_the_server_continues_in_a_directory_that_was_replaced(site, start):
    directory = site / "current"
    directory.mkdir()
    write(directory, "one")
    server = start("site_app:app", chdir=directory)
    shutil.rmtree(directory)
    directory.mkdir()
    write(directory, "two")
    upgrade(server, r"reload: done in")
    eventually(lambda: server.get("/").body == b"two", what="the new version")
