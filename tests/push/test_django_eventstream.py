"""django-eventstream, unchanged and in GRIP mode: its streams, and what `send_event` publishes."""

import json
import signal
import time
from urllib.parse import quote, unquote, urlencode

import pytest
from harness.process import free_port
from harness.requirements import require_module

require_module("django_eventstream")

KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture(params=["without a key", "with a key"])
def site(start, tmp_path, request):
    """Starts the application with an admin listener on TCP, as operators of Pushpin know it."""

    def start_site(*arguments, workers=2):
        port = free_port()
        url = f"http://127.0.0.1:{port}/"
        arguments = ["--push", "--admin-bind", f"127.0.0.1:{port}", *arguments]
        if request.param == "with a key":
            (tmp_path / "key").write_text(KEY)
            arguments += ["--grip-key-file", str(tmp_path / "key")]
            url += "?" + urlencode({"iss": "site", "key": KEY})
        database = str(tmp_path / "events.sqlite3")
        environment = {"GRIP_URL": url, "EVENTSTREAM_DATABASE": database}
        return start("eventstream_app:app", *arguments, workers=workers, environment=environment)

    return start_site


def post(server, target, value):
    response = server.post(target, json.dumps(value).encode())
    assert response.status == 204, response


def send(server, channel, data, **fields):
    post(server, "/send", [{"channel": channel, "data": data} | fields])


class Stream:
    """A client of /events/: its events, and the last id, as a browser keeps it."""

    def __init__(self, server, channels, last_id="", user=None, timeout=15.0):
        self.wire = server.connect(timeout)
        self.last_id = last_id
        self.received = b""
        lines = f"Last-Event-ID: {last_id}\r\n" if last_id else ""
        lines += f"X-User: {user}\r\n" if user else ""
        query = urlencode([("channel", channel) for channel in channels])
        self.wire.send(f"GET /events/?{query} HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode())
        self.opening = self.wire.head()
        assert self.opening.status == 200, self.opening
        assert self.event() == ("stream-open", "")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.wire.close()

    def event(self):
        """The type and the data of the next event; None at the end of the stream."""
        while True:
            while b"\n\n" not in self.received:
                chunk = self.wire.chunk()
                if not chunk:
                    assert not self.received, "the stream ends within an event"
                    return None
                self.received += chunk
            text, _, self.received = self.received.partition(b"\n\n")
            lines = [line for line in text.decode().split("\n") if not line.startswith(":")]
            fields = dict(line.split(":", 1) for line in lines if line)
            fields = {name: value.removeprefix(" ") for name, value in fields.items()}
            if fields:
                self.last_id = fields.get("id", self.last_id)
                return fields["event"], fields["data"]

    def data(self):
        kind, data = self.event()
        assert kind == "message", (kind, data)
        return json.loads(data)

    def ids(self):
        pairs = [part.split(":") for part in self.last_id.split(",")]
        return {unquote(channel): int(number) for channel, number in pairs}


def test_events_have_ids_and_reach_all_workers(site):
    server = site()
    streams = [Stream(server, ["news"]) for _ in range(6)]
    for number in (1, 2):
        send(server, "news", {"text": f"100% of\n{number}"})
    for stream in streams:
        for number in (1, 2):
            assert stream.data() == {"text": f"100% of\n{number}"}
            assert stream.last_id == f"news:{number}"
        names = {name.lower() for name, _ in stream.opening.headers}
        assert not any(name.startswith("grip-") for name in names), names
        stream.wire.close()


def test_the_library_sees_the_server_as_its_proxy(site, request):
    server = site()
    answer = json.loads(server.get("/grip", "Grip-Sig: forged").body)
    assert answer == {"proxied": True, "signed": "with a key" in request.node.name}


def test_a_stream_has_several_channels(site):
    server = site()
    names = ["a", "b/c%", "räume"]
    with Stream(server, names) as stream:
        for number, name in enumerate(names):
            send(server, name, number)
            assert stream.data() == number
            expected = {name: int(place <= number) for place, name in enumerate(names)}
            assert stream.ids() == expected
            assert quote(name) in stream.last_id


@pytest.mark.parametrize("count", [5, 120])
def test_a_client_that_comes_back_gets_what_it_has_missed(site, count):
    """More than 100 events come page by page: by Grip-Link."""
    server = site()
    events = [{"channel": "news", "data": f"{number}%"} for number in range(1, count + 1)]
    for first in range(0, count, 20):
        post(server, "/send", events[first : first + 20])
    with Stream(server, ["news"], last_id="news:2") as stream:
        send(server, "news", "live")
        got = [stream.data() for _ in range(count - 1)]
        assert got == [f"{number}%" for number in range(3, count + 1)] + ["live"]
        assert stream.last_id == f"news:{count + 1}"


def test_an_unknown_id_is_a_reset(site):
    server = site()
    send(server, "news", "old")
    with Stream(server, ["news"], last_id="news:99") as stream:
        assert stream.event() == ("stream-reset", '{"channels": ["news"]}')
        send(server, "news", "new")
        assert stream.data() == "new"


def test_a_message_that_was_lost_is_recovered_from_the_storage(site):
    server = site()
    with Stream(server, ["news", "other"]) as stream:
        send(server, "news", "first")
        assert stream.data() == "first"
        lost = {"channel": "news", "event_type": "message", "data": json.dumps("lost")}
        post(server, "/store", lost)
        send(server, "news", "third")
        send(server, "other", "of another channel")
        got = [stream.data() for _ in range(3)]
        assert sorted(got) == ["lost", "of another channel", "third"]
        assert got.index("lost") < got.index("third")
        assert stream.ids() == {"news": 3, "other": 1}


def test_a_channel_without_storage_has_no_ids(site):
    server = site()
    with Stream(server, ["live-news"]) as stream:
        send(server, "live-news", "100%")
        assert stream.data() == "100%"
        assert stream.last_id == ""


def test_the_sender_of_an_event_can_be_skipped(site):
    server = site()
    with Stream(server, ["news"], user="alice") as alice, Stream(server, ["news"]) as other:
        send(server, "news", "of alice", skip_users=["bob", "alice"])
        send(server, "news", "of bob", skip_users=["bob"])
        assert [other.data(), other.data()] == ["of alice", "of bob"]
        assert alice.data() == "of bob"


def test_a_user_that_may_not_read_a_channel_any_more_is_sent_away(site):
    server = site()
    with (
        Stream(server, ["secret"], user="alice") as alice,
        Stream(server, ["news"], user="alice") as elsewhere,
        Stream(server, ["secret"], user="bob") as bob,
    ):
        assert server.get("/lock-out?user=alice").status == 204
        kind, data = alice.event()
        assert (kind, "forbidden" in data) == ("stream-error", True)
        assert alice.event() is None, "the stream ends"
        send(server, "secret", "still")
        send(server, "news", "other")
        assert bob.data() == "still"
        assert elsewhere.data() == "other"


@pytest.mark.slow
def test_a_silent_stream_is_kept_alive(site):
    """The library asks for one each 20 seconds."""
    server = site()
    with Stream(server, ["news"], timeout=30) as stream:
        began = time.monotonic()
        assert stream.event() == ("keep-alive", "")
        assert 15 < time.monotonic() - began < 28


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2])
def test_no_event_is_lost_or_repeated_through_a_reload(site, number):
    server = site("--graceful-timeout", "4")
    send(server, "news", 0)
    got, ends = [], 0
    stream = Stream(server, ["news"], last_id="news:1")
    server.signal(number)
    deadline = time.monotonic() + 20
    published = 0
    while time.monotonic() < deadline and not (ends and published >= 40):
        published += 1
        send(server, "news", published)
        while len(got) < published:
            event = stream.event()
            if event is None:
                ends += 1
                stream.wire.close()
                stream = Stream(server, ["news"], last_id=stream.last_id)
                continue
            got.append(json.loads(event[1]))
    stream.wire.close()
    assert ends >= 1
    assert got == list(range(1, published + 1))
