"""Fixtures: servers that a test or a module starts. All run the installed package, from outside."""

import importlib.util

import pytest
from harness import Server
from harness.authority import Authority
from harness.pages.summary import summary
from harness.process import RUNNING, restore_signals


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes seconds (deselect with -m 'not slow')")
    restore_signals()
    if importlib.util.find_spec("lockgate") is None:
        raise pytest.UsageError("these tests judge the installed package: pip install lockgate")


@pytest.fixture
def start(tmp_path):
    """Starts servers that live as long as the test: start("module:app", "--flag", …)."""
    started = []
    yield _starter(tmp_path, started)
    for server in started:
        server.end()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Starts servers that live as long as the module; they must still be well at its end."""
    started = []
    yield _starter(tmp_path_factory.mktemp("servers"), started)
    codes = [server.process.poll() for server in started]
    stopped = [
        server.stop() if code is None else code for server, code in zip(started, codes, strict=True)
    ]
    logs = [server.errors for server in started]
    for server in started:
        server.end()
    assert codes == [None] * len(started), f"a server ended by itself: {codes}\n{logs}"
    assert stopped == [0] * len(started), f"exit codes of the servers on TERM: {stopped}\n{logs}"
    assert not any("panicked" in log for log in logs), logs


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """A certificate authority."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def certificate(authority):
    """Flags with a certificate for localhost and 127.0.0.1."""
    certfile, keyfile = authority.issue("localhost", "DNS:localhost", "IP:127.0.0.1")
    return ["--certfile", str(certfile), "--keyfile", str(keyfile)]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for server in [one for one in RUNNING if one.stderr_path.exists()]:
            tail = "\n".join(server.errors.splitlines()[-60:])
            report.sections.append((f"stderr of {server.label}", tail))


def pytest_terminal_summary(terminalreporter):
    reports = terminalreporter.stats.values()
    lines = summary(report for group in reports for report in group)
    if lines:
        terminalreporter.section("documents")
        terminalreporter.write("".join(f"{line}\n" for line in lines))


def _starter(directory, started):
    def start(app, *arguments, **options):
        wait = options.pop("wait", True)
        server = Server(directory, app, *arguments, wait=False, **options)
        started.append(server)
        if wait:
            server.wait_until_ready()
        return server

    return start
