"""`POST /publish/` of the admin listener, and `lockgate ctl publish`: who may, and what is said."""

import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
import time

import pytest
from harness import Wire, free_port, request
from harness.admin import Admin
from harness.other_user import open_to_others, reachable_python
from harness.process import clean_environment

PUBLISHED = "lockgate_messages_published_total"
KEY = "0123456789abcdef0123456789abcdef"
STREAM = {"http-stream": {"content": "hello\n"}}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the user")


@pytest.fixture(scope="module")
def admin(shared, tmp_path_factory):
    directory = tmp_path_factory.mktemp("admin")
    (directory / "key").write_text(KEY + "\n")
    return Admin(
        shared, directory, "hello:app", "--push", "--grip-key-file", str(directory / "key"),
        workers=1,
    )  # fmt: skip


def post(admin, body, *headers, path="/publish/"):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    with Wire(str(admin.path)) as wire:
        head = request("POST", path, *headers, "Connection: close", body=body, host="localhost")
        wire.send(head)
        return wire.response("POST")


def items(*items):
    return {"items": [{"channel": "news"} | item for item in items]}


def token(key=KEY, **claims):
    parts = [{"alg": "HS256", "typ": "JWT"}, {"iss": "test", "exp": time.time() + 60} | claims]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()) for part in parts]
    signed = b".".join(part.rstrip(b"=") for part in encoded)
    signature = hmac.new(key.encode(), signed, hashlib.sha256).digest()
    return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (items({"formats": STREAM}), 1),
        (items(STREAM), 1),
        (items(STREAM | {"id": "2", "prev-id": "1"}, {"ws-message": {"content": "a"}}), 2),
        (items({"http-response": {"code": 200, "headers": [["A", "b"]], "body-bin": "/w=="}}), 1),
        (items({"content": "hello", "event": "price", "id": "3"}), 1),
        (items(*[STREAM] * 1000), 1000),
        (items(), 0),
    ],
)
@pytest.mark.parametrize("path", ["/publish", "/publish/"])
def test_items_are_published(admin, body, count, path):
    before = admin.samples()[PUBLISHED]
    answer = post(admin, body, path=path)
    assert (answer.status, answer.body) == (200, b"Published\n")
    assert admin.samples()[PUBLISHED] == before + count


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 400, "no JSON: "),
        (b"{", 400, "no JSON: "),
        (b"[]", 400, "no JSON: must be an object"),
        ({}, 400, "items must be an array"),
        (items(STREAM, {"id": 7} | STREAM), 400, "item 2: id must be a string"),
        (items({"channel": ""} | STREAM), 400, "item 1: the name of a channel must not be empty"),
        ({"items": [STREAM]}, 400, "item 1: channel is missing"),
        (items({}), 400, "item 1: there must be content, or formats with http-stream, http-"),
        (items({"http-stream": {}}), 400, "item 1: http-stream.content is missing"),
        (items({"http-response": {"code": 99}}), 400, "item 1: the status code 99 must be"),
        (items(*[STREAM] * 1001), 400, "items has 1001 items, more than the 1000"),
        (
            items(STREAM, {"http-stream": {"content": "x" * 70_000}}),
            400,
            "and push_message_limit = 65536: publish less, such as where to get it, or raise the",
        ),
        (items({"content": "x" * 10_000_000}), 413, ""),
    ],
)
def test_a_mistake_is_named_and_nothing_is_published(admin, body, status, message):
    before = admin.samples()[PUBLISHED]
    answer = post(admin, body)
    assert answer.status == status and message in answer.body.decode(), answer
    assert admin.samples()[PUBLISHED] == before


@pytest.mark.parametrize(
    ("headers", "status", "message"),
    [
        (["Origin: http://evil.example"], 403, "a page in a browser may not read or act"),
        (["Authorization: Bearer TOKEN"], 200, "Published"),
        (["Authorization: bearer TOKEN"], 200, "Published"),
        (["Authorization: Bearer TOKEN", "Origin: http://evil.example"], 403, "a page in a"),
        (["Authorization: Bearer FORGED"], 403, "is not signed with the key: see grip_key_file"),
        (["Authorization: Bearer OLD"], 403, "the token has expired: see grip_key_file"),
        (["Authorization: Bearer nonsense"], 403, "no JSON web token: see grip_key_file"),
        (["Authorization: Basic YTpi"], 200, "Published"),
    ],
)
def test_a_token_is_checked_and_a_page_is_refused(admin, headers, status, message):
    tokens = {"TOKEN": token(), "FORGED": token(key="other" * 8), "OLD": token(exp=1)}
    for name, value in tokens.items():
        headers = [header.replace(name, value) for header in headers]
    answer = post(admin, items(STREAM), *headers)
    assert answer.status == status and message in answer.body.decode(), answer


def test_only_post_publishes(admin):
    answer = admin.ask("/publish/")
    assert (answer.status, answer.header("Allow")) == (405, "POST")
    assert post(admin, items(STREAM), path="/publish/x").status == 405


def test_no_name_that_leads_to_this_machine_lets_a_page_publish(start):
    port = free_port()
    start("hello:app", "--push", "--admin-bind", f"127.0.0.1:{port}")
    body = json.dumps(items(STREAM)).encode()
    for host, status in [("rebound.example", 403), (f"127.0.0.1:{port}", 200)]:
        with Wire(("127.0.0.1", port)) as wire:
            wire.send(request("POST", "/publish/", "Connection: close", body=body, host=host))
            assert wire.response("POST").status == status


def test_ctl_publishes(admin):
    before = admin.samples()[PUBLISHED]
    for arguments in [("news", "hello"), ("news", "", "--id", "7", "--event", "price")]:
        said = admin.ctl("publish", *arguments)
        assert (said.returncode, said.stdout) == (0, "published to news\n"), said
    command = [sys.executable, "-m", "lockgate", "ctl", "--admin", admin.address]
    said = subprocess.run(
        [*command, "publish", "news", "-"], input="a\nb\n", capture_output=True, text=True,
        env=clean_environment(),
    )  # fmt: skip
    assert said.returncode == 0, said
    assert admin.samples()[PUBLISHED] == before + 3
    for arguments, message in [
        (("", "a"), "item 1: the name of a channel must not be empty"),
        (("news", "a", "--event", "b\n"), "item 1: the event must not contain CR, LF or NUL"),
        (("news", "x" * 70_000), "push_message_limit = 65536"),
    ]:
        said = admin.ctl("publish", *arguments)
        assert said.returncode == 1 and message in said.stderr, said
        assert "Traceback" not in said.stderr


def test_without_the_setting_the_answer_names_it(start, tmp_path):
    admin = Admin(start, tmp_path, "hello:app", workers=1)
    answer = post(admin, items(STREAM))
    off = "publishing is off in this server: set push = true\n"
    assert (answer.status, answer.body.decode()) == (404, off)
    said = admin.ctl("publish", "news", "hello")
    assert said.returncode == 1 and off in said.stderr
    assert PUBLISHED not in admin.samples()


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read: No such file"), ("short", "a key of at least 32 bytes, but has 5")],
)
def test_a_wrong_key_is_named_at_the_start(start, tmp_path, content, message):
    if content is not None:
        (tmp_path / "key").write_text(content)
    server = start("hello:app", "--grip-key-file", str(tmp_path / "key"), wait=False)
    assert server.wait() != 0
    assert f'grip_key_file = "{tmp_path / "key"}" (from --grip-key-file): ' in server.errors
    assert message in server.errors and "short" not in server.errors


@needs_root
def test_the_workers_user_may_publish_and_others_need_a_token(start, tmp_path):
    open_to_others(tmp_path)
    (tmp_path / "prefix").mkdir()
    (tmp_path / "key").write_text(KEY)
    admin = Admin(
        start, tmp_path, "hello:app", "--umask", "0", "--user", "12345", "--group", "12345",
        "--push", "--grip-key-file", str(tmp_path / "key"),
        prefix=reachable_python(tmp_path / "prefix"), workers=1,
    )  # fmt: skip
    script = (
        "import socket, sys; connection = socket.socket(socket.AF_UNIX); "
        "connection.connect(sys.argv[1]); connection.sendall(sys.argv[2].encode()); "
        "print(connection.makefile().read())"
    )

    def answer(user, *headers):
        (tmp_path / f"{user}{len(headers)}").mkdir()
        body = json.dumps(items(STREAM)).encode()
        fields = (*headers, "Connection: close")
        asked = request("POST", "/publish/", *fields, body=body, host="localhost").decode()
        command = [
            *reachable_python(tmp_path / f"{user}{len(headers)}"),
            *("setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups"),
            *(sys.executable, "-c", script, str(admin.path), asked),
        ]
        said = subprocess.run(command, capture_output=True, text=True, check=True)
        return said.stdout

    assert answer(12345).startswith("HTTP/1.1 200 ")
    refused = answer(12346)
    assert refused.startswith("HTTP/1.1 403 ")
    assert "user 12346 may not publish: root, user 0" in refused
    assert answer(12346, f"Authorization: Bearer {token()}").startswith("HTTP/1.1 200 ")
    assert admin.server.errors.count("admin: user 12346 may not publish: refused") == 1
