"""`lockgate.publish`: what it accepts, where it works, and what it says where it does not."""

import signal
import subprocess
import sys

import lockgate
import pytest
from harness import eventually
from harness.admin import Admin
from harness.process import clean_environment

PUBLISHED = "lockgate_messages_published_total"


def stream(content):
    return {"http-stream": {"content": content}}


STREAM = stream("hello\n")


@pytest.fixture(scope="module")
def server(shared):
    return shared("publishing:app", "--push", workers=1)


def asked(server, *arguments, path="/", **keywords):
    body = repr((arguments, keywords)).encode()
    return server.post(path, body).body.decode()


@pytest.mark.parametrize(
    ("arguments", "keywords"),
    [
        (("news", "text"), {}),
        (("news", b"\xff\0"), {}),
        (("news", ""), {}),
        (("räume/7 #a", "text"), {"id": "7", "event": "price", "prev_id": "6"}),
        (("n" * 256, "x" * 65_000), {}),
        (("news",), {"formats": {"http-stream": {"content": "hello\n"}}}),
        (("news",), {"formats": {"http-stream": {"content": b"\xff"}}}),
        (("news",), {"formats": {"http-stream": {"action": "close"}}}),
        (("news",), {"formats": {"ws-message": {"content-bin": "aGVsbG8="}}}),
        (("news", "text"), {"formats": {"ws-message": {"action": "close", "code": 4000}}}),
        (
            ("news",),
            {"formats": {"http-response": {"code": 201, "headers": {"A": "b"}, "body": b"c"}}},
        ),
        (("news",), {"formats": {"formats": {"http-stream": {"content": "a"}}, "id": "3"}}),
    ],
)
def test_a_message_is_published(server, arguments, keywords):
    assert asked(server, *arguments, **keywords) == "None"


@pytest.mark.parametrize("name", ["item", "format", "list of formats"])
def test_objects_of_gripcontrol_are_formats(server, name):
    assert server.post("/object", name.encode()).body == b"None"


@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        (("", "a"), {}, 'ValueError: cannot publish to the channel "": the name of a channel must'),
        (
            ("a\nb", "a"),
            {},
            'to the channel "a\\nb": the name of a channel must not contain control',
        ),
        (("n" * 257, "a"), {}, "must have at most 256 bytes"),
        ((7, "a"), {}, "TypeError: channel must be str, not int"),
        ((None,), {"formats": STREAM}, "TypeError: channel must be str, not NoneType"),
        (("news",), {}, "ValueError: nothing to publish to the channel 'news': give content, for"),
        (("news", 7), {}, "TypeError: content must be str or bytes, not int"),
        (("news", ["a"]), {}, "TypeError: content must be str or bytes, not list"),
        (("news", "a"), {"id": 7}, "TypeError: id must be str, not int"),
        (("news", "a"), {"id": "a\nb"}, 'ValueError: cannot publish to the channel "news": the id'),
        (("news", "a"), {"event": b"a"}, "TypeError: event must be str, not bytes"),
        (("news", "a"), {"event": "a\r"}, "the event must not contain CR, LF or NUL"),
        (("news", "a"), {"prev_id": "a\0"}, "the prev-id must not contain CR, LF or NUL"),
        (("news", "\ud800"), {}, "UnicodeEncodeError: "),
        (("news", "x" * 10_000_000), {}, "and push_message_limit = 65536: publish less, such as"),
        (("news",), {"formats": stream("x" * 70_000)}, "and push_message_limit = 65536: "),
        (("news",), {"formats": 7}, "TypeError: formats must be a dict such as {'http-stream': {"),
        (("news",), {"formats": "text"}, "TypeError: formats must be a dict such as"),
        (("news",), {"formats": {}}, "ValueError: formats: there must be http-stream, http-resp"),
        (("news",), {"formats": []}, "ValueError: formats: there must be http-stream, http-resp"),
        (("news",), {"formats": {"http_stream": {}}}, "ValueError: formats has the key 'http_str"),
        (("news",), {"formats": {"http-stream": "a"}}, "formats: http-stream must be an object"),
        (("news",), {"formats": {"http-stream": {}}}, "http-stream.content is missing"),
        (("news",), {"formats": {"http-response": {"code": 99}}}, "the status code 99 must be"),
        (("news",), {"formats": stream({1: b"a"})}, "TypeError: formats has a value of the type b"),
        (("news",), {"unknown": 1}, "TypeError: publish() got an unexpected keyword argument"),
    ],
)
def test_a_mistake_is_named(server, arguments, keywords, message):
    assert message in asked(server, *arguments, **keywords)


def test_formats_that_are_no_json_are_named(server):
    assert "nested too deeply, or contain themselves" in asked(server, path="/endless")
    assert "a value of the type tuple_iterator" in asked(server, path="/generator")


@pytest.mark.parametrize("preload", [(), ("--preload",)])
def test_it_works_at_import_in_threads_and_in_children(start, tmp_path, preload):
    admin = Admin(
        start, tmp_path, "publishing:app", "--push", "--push-memory", "1MiB", *preload, workers=2
    )
    server = admin.server
    assert server.get("/import").body == b"published"
    imports = 1 if preload else 2
    assert admin.samples()[PUBLISHED] == imports
    assert server.post("/threads", b"2000").body == b"done"
    assert admin.samples()[PUBLISHED] == imports + 8000
    assert server.post("/children", b"5").body == b"[-9, 0, 0, 0, 0]"
    # The one that was killed, perhaps with the lock, has published an unknown number.
    count = admin.samples()[PUBLISHED]
    assert count > imports + 8005
    assert asked(server, "news", "text") == "None"
    assert admin.samples()[PUBLISHED] == count + 1
    assert 'lockgate_held_requests{worker="1"}' in admin.samples()


def test_the_log_lives_over_reloads_and_upgrades(start, tmp_path):
    admin = Admin(start, tmp_path, "publishing:app", "--push", workers=1)
    server = admin.server
    assert admin.samples()[PUBLISHED] == 1
    for number, done in [(signal.SIGHUP, "reload: done"), (signal.SIGUSR2, "reload: done")]:
        before = admin.samples()[PUBLISHED]
        since = len(server.errors)
        server.signal(number)
        server.wait_for_log(done, within=30, since=since)
        # The import of the new worker has published, too.
        count = eventually(lambda: admin.samples()[PUBLISHED], what="the admin listener answers")
        assert count == before + 1
        assert asked(server, "news", "text") == "None"
        assert admin.samples()[PUBLISHED] == before + 2
    assert server.stop() == 0


def test_a_reload_does_not_switch_it(start, tmp_path):
    file = tmp_path / "lockgate.toml"
    file.write_text("push = true\n")
    server = start("publishing:app", "--config", str(file), workers=1)
    assert asked(server, "news", "text") == "None"
    file.write_text("push = false\npush_memory = '1MiB'\n")
    server.signal(signal.SIGHUP)
    server.wait_for_log(r"push.*push_memory")
    server.wait_for_log("reload: done")
    assert asked(server, "news", "text") == "None"


def test_without_the_setting_it_names_the_setting(start):
    server = start("publishing:app", workers=1)
    error = "RuntimeError: publishing is off in this server: set push = true"
    assert asked(server, "news", "text") == error
    assert error.removeprefix("RuntimeError: ") in server.get("/import").body.decode()


def test_outside_a_server_it_says_what_to_do():
    script = "import lockgate; lockgate.publish('news', 'text')"
    command = [sys.executable, "-c", script]
    said = subprocess.run(command, capture_output=True, text=True, env=clean_environment())
    assert "RuntimeError: lockgate.publish works in the processes of a server" in said.stderr
    assert "lockgate ctl publish" in said.stderr


EMBEDDED = """
import os
import lockgate
def app(environ, start_response):
    start_response("200 OK", [])
    return [b""]
for push in (False, True, True, False):
    server = lockgate.Server(app, bind="127.0.0.1:0", push=push, push_memory="1MiB")
    with server:
        try:
            print(lockgate.publish("news", "text"))
        except RuntimeError as error:
            print(error)
        pid = os.fork()
        if pid == 0:
            lockgate.publish("news", "text") if push else None
            os._exit(0)
        print(os.waitpid(pid, 0)[1])
"""


def test_an_embedded_server_has_a_log_of_its_own():
    command = [sys.executable, "-c", EMBEDDED]
    said = subprocess.run(command, capture_output=True, text=True, env=clean_environment())
    off = "publishing is off in this server: set push = true"
    assert said.stdout.splitlines() == [off, "0", *["None", "0"] * 3], said
    with pytest.raises(ValueError, match="push_redis"):
        lockgate.Server(lambda environ, start_response: [], push_redis="redis://localhost")
