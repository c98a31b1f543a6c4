"""How many threads a worker starts, when they end, and what that means for a database."""

import http.client
import re
import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from harness import eventually, request
from harness.postgres import Postgres


@pytest.fixture(scope="module")
def postgres():
    server = Postgres()
    yield server
    server.end()


def thread_count(pid):
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def get_all(server, target, clients, each=1):
    """What that many clients got that ask at the same time."""
    statuses = Counter()

    def ask():
        for _ in range(each):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            try:
                connection.request("GET", target)
                statuses[connection.getresponse().status] += 1
            finally:
                connection.close()

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    return statuses, threads


@pytest.mark.slow
def test_a_default_postgresql_survives_django_with_persistent_connections(start, postgres):
    import psycopg

    with psycopg.connect(postgres.dsn) as connection:
        connection.execute("CREATE ROLE application LOGIN")
    server = start(
        "django_postgres:app",
        "--thread-idle-timeout=2s",
        workers=2,
        environment={"POSTGRES_DIRECTORY": str(postgres.directory)},
    )
    statuses, clients = get_all(server, "/slow", clients=150, each=2)
    most = 0
    while any(client.is_alive() for client in clients):
        most = max(most, postgres.connections())
        clients[0].join(0.05)
        clients = [client for client in clients if client.is_alive()]
    assert statuses == {200: 300}, server.errors
    # A worker has one thread more than may be in calls, and each has been in one.
    assert 4 <= most <= 2 * (32 + 1)
    # Two threads of each worker stay, with the connection that each of them may have.
    eventually(lambda: postgres.connections() <= 4, within=30, what="connections are closed")
    assert server.get("/slow").status == 200


@pytest.mark.parametrize("gc", ["freeze", "idle"])
def test_thread_locals_of_an_idle_thread_are_freed_when_it_ends(start, gc):
    server = start("thread_locals:app", "--thread-idle-timeout=1s", f"--gc={gc}")
    (worker,) = server.workers()
    before = thread_count(worker)
    statuses, clients = get_all(server, "/meet?12", clients=12)
    for client in clients:
        client.join(60)
    assert statuses == {200: 12}
    assert thread_count(worker) >= before + 10
    eventually(lambda: int(server.get("/").body) <= 2, within=30, what="thread-locals are freed")
    eventually(lambda: thread_count(worker) <= before, within=10, what="idle threads have ended")


@pytest.mark.parametrize(
    ("arguments", "workers", "threads"),
    [([], 1, 64), ([], 2, 32), (["--threads=3"], 2, 3)],
)
def test_the_warning_names_the_threads_what_waits_and_the_setting(
    start, arguments, workers, threads
):
    server = start("thread_locals:endless", *arguments, workers=workers)
    with ExitStack() as wires:
        for _ in range(workers * threads + 2 * workers):
            wire = wires.enter_context(server.connect())
            wire.send(request("GET", "/events"))
        line = server.wait_for_log(r"all \d+ threads of this worker are in calls.*", within=30)
    assert f"all {threads} threads" in line
    assert re.search(r"\d+ requests are waiting, the oldest for \d+\.\d s", line)
    setting = arguments[0].removeprefix("--").replace("=", " = ") if arguments else "threads = auto"
    assert setting in line
    # Once for each worker, however many requests have come meanwhile.
    assert server.errors.count("threads of this worker are in calls") <= workers
