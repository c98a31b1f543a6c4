"""What a page of Flask-SocketIO in Chromium sees, over TLS, while its workers are replaced."""

import json
import signal

import pytest
from harness import eventually
from harness.chromium import Chromium
from harness.npm import file_of_package
from harness.requirements import require_module

require_module("flask_socketio")

MAX_REQUESTS = 150


@pytest.fixture
def page(start, tmp_path, certificate):
    opened = []

    def open_page(query):
        client = file_of_package("socket.io-client@4.8.4", "dist/socket.io.min.js", tmp_path)
        server = start(
            "socketio_chat:app",
            *certificate,
            "--max-requests",
            str(MAX_REQUESTS),
            workers=1,
            environment={"SOCKET_IO_CLIENT": str(client)},
        )
        url = f"https://localhost:{server.port}/static/chat.html{query}"
        opened.append(Chromium(tmp_path, url))
        return server, opened[0]

    yield open_page
    for page in opened:
        page.end()


def hup(server, page):
    server.signal(signal.SIGHUP)


def usr2(server, page):
    server.signal(signal.SIGUSR2)


def recycle(server, page):
    assert page.evaluate(f"ask({MAX_REQUESTS + 20})") == 0


@pytest.mark.slow
@pytest.mark.parametrize("query", ["", "?acknowledged"])
def test_a_page_comes_back_once_for_each_replacement(page, query):
    server, page = page(query)

    def seen():
        return json.loads(page.evaluate("report()"))

    def is_live(connections):
        """The page has this many connections behind it, uses WebSocket and hears what it says."""
        now = seen()
        if now["connections"] < connections or now["transport"] != "websocket":
            return False
        said, heard = now["said"], now["heard"]
        return eventually(
            lambda: [number for number in seen()["heard"][len(heard) :] if number >= said],
            within=15,
            what="the page hears what it says",
        )

    eventually(lambda: seen()["transport"] == "websocket", within=15, what="WebSocket")
    page.evaluate("begin()")
    eventually(lambda: is_live(1), within=15, what="the first connection")
    for count, replace in enumerate([hup, recycle, usr2, hup], 2):
        replace(server, page)
        eventually(lambda: is_live(count), within=20, what=replace.__name__)  # noqa: B023
    page.evaluate("end()")
    said = seen()["said"]
    eventually(lambda: seen()["heard"][-1] == said - 1, within=15, what="the last message")
    now = seen()
    lost = sorted(set(range(said)) - set(now["heard"]))
    repeated = len(now["heard"]) - len(set(now["heard"]))
    print(
        f"{said} messages, {now['connections'] - 1} reconnects, {len(lost)} lost {lost}, "
        f"{repeated} repeated, ends {now['ends']}, errors {now['errors']}"
    )
    assert now["connections"] == 5
    assert len(now["ends"]) == 4
    assert repeated == 0 or query
    # Without acknowledgements those are lost that are on their way when a connection ends.
    assert len(lost) <= (0 if query else 20)
    assert server.stop() == 0
    assert "Traceback" not in server.errors
