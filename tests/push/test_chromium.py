"""What an EventSource in Chromium sees, over TLS and HTTP/2, while its workers are replaced."""

import json
import signal
import threading

import pytest
from harness import eventually
from harness.admin import Admin
from harness.chromium import Chromium
from harness.wire import Wire, request

MAX_REQUESTS = 150


class Publisher:
    """Publishes the numbers from 0 on, ten a second."""

    def __init__(self, path):
        self.path, self.count = path, 0
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        while not self.stopped.wait(0.1):
            text = str(self.count)
            item = {"channel": "news", "id": text, "content": text}
            body = json.dumps({"items": [item]}).encode()
            try:
                wire = Wire(str(self.path))
            except (ConnectionError, FileNotFoundError):
                continue
            with wire:
                fields = ("Connection: close",)
                wire.send(request("POST", "/publish/", *fields, body=body, host="localhost"))
                assert wire.response("POST").status == 200
            self.count += 1

    def stop(self):
        self.stopped.set()
        self.thread.join()


def hup(server, page):
    server.signal(signal.SIGHUP)


def usr2(server, page):
    server.signal(signal.SIGUSR2)


def recycle(server, page):
    assert page.evaluate(f"ask({MAX_REQUESTS + 20})") == 0


@pytest.mark.slow
def test_a_page_sees_each_message_once_while_workers_are_replaced(start, tmp_path, certificate):
    admin = Admin(
        start, tmp_path, "flask_events:app", "--push", *certificate,
        "--max-requests", str(MAX_REQUESTS), "--graceful-timeout", "3", workers=1,
    )  # fmt: skip
    server = admin.server
    page = Chromium(tmp_path, f"https://localhost:{server.port}/static/events.html")
    publisher = None
    try:

        def seen():
            return json.loads(page.evaluate("report()"))

        eventually(lambda: seen()["opens"] == 1, within=15, what="the stream is open")
        publisher = Publisher(admin.path)

        def is_live(opens):
            """The page has connected this often, and gets what is published from now on."""
            wanted = publisher.count + 2
            if seen()["opens"] < opens:
                return False
            return eventually(lambda: wanted in seen()["numbers"], within=10, what="a message")

        eventually(lambda: is_live(1), within=15, what="the first message")
        for opens, replace in enumerate([hup, recycle, usr2, hup], 2):
            replace(server, page)
            eventually(lambda: is_live(opens), within=20, what=replace.__name__)  # noqa: B023
        publisher.stop()
        last = publisher.count - 1
        eventually(lambda: seen()["numbers"][-1] == last, within=10, what="the last message")
        now = seen()
    finally:
        if publisher:
            publisher.stop()
        page.end()
    numbers = now["numbers"]
    lost = sorted(set(range(publisher.count)) - set(numbers))
    repeated = len(numbers) - len(set(numbers))
    print(
        f"{publisher.count} messages, {now['opens'] - 1} reconnects, {len(lost)} lost {lost}, "
        f"{repeated} repeated, errors {now['errors']}"
    )
    assert now["protocol"] == "h2"
    assert now["opens"] == 5
    assert (lost, repeated) == ([], 0)
    assert numbers == sorted(numbers)
    assert server.stop() == 0
    assert "Traceback" not in server.errors
