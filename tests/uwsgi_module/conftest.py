"""A server whose application runs expressions with the module `uwsgi`."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import eventually


class Uwsgi:
    """A server of tests/apps/uwsgi_app.py."""

    def __init__(self, server):
        self.server = server

    def __call__(self, expression):
        return self.server.post("/", expression.encode()).body.decode()

    def in_every_worker(self, expression, count):
        """The results in this many workers, by worker number."""
        found = {}
        # While they sleep, the other workers have fewer connections and accept the next ones.
        busy = f"(uwsgi.worker_id(), {expression}, time.sleep(0.1))"

        def collect():
            with ThreadPoolExecutor(4 * count) as pool:
                for text in pool.map(self, [busy] * 4 * count):
                    number, result, _ = eval(text)
                    found[number] = result
            return len(found) == count

        eventually(collect, what=f"{count} workers answer")
        return found

    def logged(self, pattern, since=0):
        return self.server.wait_for_log(pattern, since=since)

    def count(self, pattern):
        return len(re.findall(pattern, self.server.errors))


@pytest.fixture
def uwsgi(start):
    def started(*arguments, workers=2, **options):
        flags = ["--uwsgi-module", *arguments]
        return Uwsgi(start("uwsgi_app:app", *flags, workers=workers, **options))

    return started
