"""Purges: from Python, over the admin listener, with `lockgate ctl`, and on several hosts."""

import base64
import hashlib
import hmac
import json
import signal
import subprocess
import sys
import threading
import time
from urllib.parse import quote, urlencode

import pytest
from harness import Wire, eventually, request
from harness.admin import Admin
from harness.redis import Redis

KEY = "0123456789abcdef0123456789abcdef"
#: That of the requests of the harness.
HOST = "http://lockgate.test"


@pytest.fixture(scope="module")
def admin(shared, tmp_path_factory):
    directory = tmp_path_factory.mktemp("admin")
    (directory / "key").write_text(KEY + "\n")
    return Admin(
        shared, directory, "purging:app", "--cache", "8MiB", "--threads", "4",
        "--cache-ignore-query", "utm_*", "--grip-key-file", str(directory / "key"), workers=2,
    )  # fmt: skip


def body(server, target, *headers):
    response = server.get(target, *headers)
    assert response.status == 200, response
    return response.body


def store(server, target, *headers):
    """Gets a response, which the server then answers with again."""
    first = body(server, target, *headers)
    assert all(body(server, target, *headers) == first for _ in range(4))
    return first


def ask_to_purge(server, **arguments):
    return ask_to_purge_at("", server, **arguments)


def ask_to_purge_at(mount, server, **arguments):
    found = body(server, f"{mount}/purge?arguments={quote(json.dumps(arguments))}").decode()
    return int(found) if found.isdecimal() else found


def post(admin, form, *headers, method="POST", query=""):
    data = form if isinstance(form, bytes) else urlencode(form).encode()
    target = f"/cache/purge{query}"
    head = request(method, target, *headers, "Connection: close", body=data, host="localhost")
    with Wire(str(admin.path)) as wire:
        wire.send(head)
        return wire.response(method)


def by_python(admin, **arguments):
    return ask_to_purge(admin.server, **arguments)


def by_post(admin, **arguments):
    form = [(name, text) for name, text in arguments.items() if name != "everything"]
    form += [("all", "")] if "everything" in arguments else []
    response = post(admin, form)
    assert (response.status, response.header("Content-Type")) == (200, "application/json")
    return json.loads(response.body)["purged"]


def by_ctl(admin, **arguments):
    words = [
        *([arguments["url"]] if "url" in arguments else []),
        *(["--tag", arguments["tag"]] if "tag" in arguments else []),
        *(["--all"] if "everything" in arguments else []),
    ]
    outcome = admin.ctl("purge", *words)
    assert outcome.returncode == 0, outcome.stderr
    words = outcome.stdout.split()
    assert words[0] == "removed" and words[-2:] == ["the", "cache"]
    return int(words[1])


@pytest.mark.parametrize("purge", [by_python, by_post, by_ctl])
def test_a_purge_removes_what_it_names_and_nothing_else(admin, purge):
    server = admin.server
    old = {target: store(server, target) for target in ("/a?x=1", "/b?tag=news", "/c?tag=news,x")}
    assert purge(admin, url=f"{HOST}/a?x=1&utm_source=mail") == 1
    assert body(server, "/a?x=1") != old["/a?x=1"]
    assert body(server, "/b?tag=news") == old["/b?tag=news"]
    assert purge(admin, tag="news") == 2
    assert body(server, "/b?tag=news") != old["/b?tag=news"]
    assert body(server, "/c?tag=news,x") != old["/c?tag=news,x"]
    kept = store(server, "/d?tag=y")
    assert purge(admin, url=f"{HOST}/absent") == 0
    assert purge(admin, tag="absent") == 0
    assert body(server, "/d?tag=y") == kept
    assert purge(admin, everything=True) >= 4
    assert body(server, "/d?tag=y") != kept


def test_a_purge_of_a_url_is_for_everything_that_it_varies_on(admin):
    server = admin.server
    languages = ["de", "en"]
    old = [store(server, "/v?vary=Accept-Language", f"Accept-Language: {n}") for n in languages]
    assert old[0] != old[1]
    assert ask_to_purge(server, url=f"{HOST}/v?vary=Accept-Language") >= 1
    new = [body(server, "/v?vary=Accept-Language", f"Accept-Language: {n}") for n in languages]
    assert not set(new) & set(old)


def test_a_url_has_the_mount_point_of_the_application(start):
    server = start("purging:app", "--cache", "8MiB", "--root-path", "/shop")
    old = store(server, "/shop/a?b=c")
    assert ask_to_purge_at("/shop", server, url=f"{HOST}/a?b=c") == 0
    assert body(server, "/shop/a?b=c") == old
    assert ask_to_purge_at("/shop", server, url=f"{HOST}/shop/a?b=c") == 1
    assert body(server, "/shop/a?b=c") != old


def test_several_urls_and_tags_are_purged_at_once(admin):
    server = admin.server
    targets = ["/s1", "/s2", "/s3?tag=one", "/s4?tag=two"]
    old = [store(server, target) for target in targets]
    urls = [f"{HOST}{target}" for target in targets[:2]]
    assert ask_to_purge(server, url=urls, tag=["one", "two"]) == 4
    assert not set(old) & {body(server, target) for target in targets}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, "TypeError: purge() needs url, tag or everything=True"),
        ({"url": "/news"}, "ValueError: the URL must begin with http:// or https://"),
        ({"url": "http://me@h/"}, "ValueError: the host of the URL must be as in requests"),
        ({"tag": " "}, "ValueError: the tag must not be empty"),
        ({"tag": 5}, "TypeError: 'int' object is not iterable"),
        ({"tag": [5]}, "TypeError: tag must be str, not int"),
    ],
)
def test_what_is_no_purge_raises_an_exception(admin, arguments, error):
    assert ask_to_purge(admin.server, **arguments).startswith(error)


def test_nothing_is_purged_when_one_of_several_is_wrong(admin):
    kept = store(admin.server, "/w?tag=kept")
    assert "must begin with http" in ask_to_purge(admin.server, tag="kept", url="/wrong")
    assert post(admin, [("tag", "kept"), ("url", "/wrong")]).status == 400
    assert body(admin.server, "/w?tag=kept") == kept


def test_without_a_cache_nothing_is_removed(start, tmp_path):
    admin = Admin(start, tmp_path, "purging:app")
    assert ask_to_purge(admin.server, everything=True) == 0
    response = post(admin, {"all": ""})
    assert (response.status, response.body) == (
        404,
        b"this server has no cache: set cache = true\n",
    )
    outcome = admin.ctl("purge", "--all")
    assert outcome.returncode == 1 and "this server has no cache" in outcome.stderr


def test_outside_a_server_the_exception_says_what_to_do():
    code = "import lockgate; lockgate.cache.purge(tag='a')"
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "RuntimeError: lockgate.cache.purge works in the processes of a server" in outcome.stderr
    assert "lockgate ctl purge" in outcome.stderr


@pytest.mark.parametrize(
    ("method", "form", "headers", "status", "text"),
    [
        ("GET", b"", [], 405, "purging needs POST"),
        ("POST", b"", [], 400, "nothing is named: give url=URL, tag=TAG or all"),
        ("POST", b"tags=a", [], 400, "the fields are url=URL, tag=TAG and all"),
        ("POST", b"url=%2Fnews", [], 400, "the URL must begin with http:// or https://"),
        ("POST", b"all", ["Origin: http://evil.example"], 403, "a page in a browser may not"),
        ("POST", b"all", ["Authorization: Bearer a.b.c"], 403, "see grip_key_file"),
    ],
)
def test_what_is_refused_over_http(admin, method, form, headers, status, text):
    kept = store(admin.server, "/refused")
    response = post(admin, form, *headers, method=method)
    assert response.status == status and text in response.body.decode()
    assert body(admin.server, "/refused") == kept


def test_a_token_and_a_query_are_accepted(admin):
    parts = [{"alg": "HS256", "typ": "JWT"}, {"exp": time.time() + 60}]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()) for part in parts]
    signed = b".".join(part.rstrip(b"=") for part in encoded)
    signature = hmac.new(KEY.encode(), signed, hashlib.sha256).digest()
    token = (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()
    old = store(admin.server, "/t?tag=a+b")
    response = post(admin, b"", f"Authorization: Bearer {token}", query="?tag=a+b")
    assert (response.status, response.body) == (200, b'{"purged":1}\n')
    assert body(admin.server, "/t?tag=a+b") != old
    admin.server.wait_for_log(r"admin: purged the tag a b: 1 entry removed from the cache")


def test_ctl_needs_something_to_purge(admin):
    outcome = admin.ctl("purge")
    assert outcome.returncode == 2 and "a URL, --tag TAG or --all is missing" in outcome.stderr


def test_a_response_that_was_being_made_is_not_stored(admin, tmp_path):
    """It may have been made from what the purge is about."""
    server = admin.server
    gate = tmp_path / "gate"
    target = f"/slow?tag=late&slow={gate}"
    answers = []
    client = threading.Thread(target=lambda: answers.append(body(server, target)))
    client.start()
    eventually((tmp_path / "gate.begun").exists, what="the response is being made")
    ask_to_purge(server, tag="late")
    gate.touch()
    client.join(20)
    assert body(server, target) not in answers


def test_no_worker_answers_with_what_was_purged(admin):
    """Under load, over both workers: 50 ms after a purge no old response is seen."""
    server = admin.server
    target, stop = "/load?tag=load", threading.Event()
    purged: list[tuple[float, str]] = []
    seen: list[tuple[float, bytes]] = []

    def read():
        while not stop.is_set():
            begun = time.monotonic()
            seen.append((begun, body(server, target)))

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for _ in range(20):
        old = body(server, target)
        by_python(admin, tag="load")
        purged.append((time.monotonic(), old))
        eventually(lambda: body(server, target) != purged[-1][1], what="a new response")
    stop.set()
    for reader in readers:
        reader.join(20)
    assert len(seen) > 100
    for at, old in purged:
        stale = [begun - at for begun, text in seen if text == old and begun > at + 0.05]
        assert not stale, f"seen {max(stale) * 1000:.0f} ms after the purge"


def test_purges_reach_the_caches_of_other_hosts(start, tmp_path):
    redis = Redis(tmp_path)
    try:
        hosts = [
            start("purging:app", "--cache", "8MiB", "--cache-redis", redis.url) for _ in range(3)
        ]
        for host in hosts:
            host.wait_for_log("purges are relayed through")
        purges = [{"tag": "far"}, {"url": f"{HOST}/far?tag=far"}, {"everything": True}]
        for purge in purges:
            old = [store(host, "/far?tag=far") for host in hosts]
            kept = [store(host, "/near") for host in hosts]
            assert ask_to_purge(hosts[0], **purge) >= 1
            begun = time.monotonic()
            for host, text in zip(hosts, old, strict=True):
                eventually(lambda: body(host, "/far?tag=far") != text, what="a new response")  # noqa: B023
            took = time.monotonic() - begun
            assert took < 1, f"{took:.3f} s"
            if purge != {"everything": True}:
                assert [body(host, "/near") for host in hosts] == kept
    finally:
        redis.kill()


def test_purges_wait_while_redis_is_away(start, tmp_path):
    redis = Redis(tmp_path)
    try:
        hosts = [
            start("purging:app", "--cache", "8MiB", "--cache-redis", redis.url) for _ in range(2)
        ]
        for host in hosts:
            host.wait_for_log("purges are relayed through")
        redis.kill()
        old = [store(host, "/far?tag=far") for host in hosts]
        hosts[0].wait_for_log(
            r"cannot relay purges through .*; until it works again, they reach only this server's"
        )
        assert ask_to_purge(hosts[0], tag="far") == 1
        assert body(hosts[0], "/far?tag=far") != old[0]
        assert body(hosts[1], "/far?tag=far") == old[1]
        redis.start()
        eventually(lambda: body(hosts[1], "/far?tag=far") != old[1], within=20, what="the purge")
    finally:
        redis.kill()


def test_a_frozen_redis_server_delays_neither_purges_nor_responses(start, tmp_path):
    redis = Redis(tmp_path)
    try:
        hosts = [
            start("purging:app", "--cache", "8MiB", "--cache-redis", redis.url) for _ in range(2)
        ]
        for host in hosts:
            host.wait_for_log("purges are relayed through")
        old = [store(host, "/far?tag=far") for host in hosts]
        with redis.frozen():
            begun = time.monotonic()
            assert ask_to_purge(hosts[0], tag="far") == 1
            assert body(hosts[0], "/far?tag=far") != old[0]
            assert body(hosts[1], "/far?tag=far") == old[1]
            # The relay waits 15 s for an answer.
            assert time.monotonic() - begun < 5
        eventually(lambda: body(hosts[1], "/far?tag=far") != old[1], what="the purge")
    finally:
        redis.kill()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2])
def test_purges_are_relayed_after_a_reload_and_an_upgrade(start, tmp_path, number):
    redis = Redis(tmp_path)
    try:
        hosts = [
            start("purging:app", "--cache", "8MiB", "--cache-redis", redis.url) for _ in range(2)
        ]
        kept = store(hosts[0], "/kept")
        for host in hosts:
            host.wait_for_log("purges are relayed through")
            since = len(host.errors)
            host.signal(number)
            host.wait_for_log("purges are relayed through", since=since, within=20)
            host.wait_for_log("reload: done", since=since, within=20)
        assert body(hosts[0], "/kept") == kept
        old = [store(host, "/far?tag=far") for host in hosts]
        assert ask_to_purge(hosts[0], tag="far") == 1
        eventually(lambda: body(hosts[1], "/far?tag=far") != old[1], what="the purge")
    finally:
        redis.kill()


def test_metrics_have_what_the_cache_counts(admin):
    before = admin.samples()
    store(admin.server, "/counted")
    assert by_python(admin, url=f"{HOST}/counted") == 1
    after = admin.samples()
    for name, least in [
        ('lockgate_cache_requests_total{result="miss"}', 1),
        ('lockgate_cache_requests_total{result="hit"}', 4),
        ("lockgate_cache_stored_total", 1),
        ("lockgate_cache_purged_total", 1),
    ]:
        assert after[name] >= before[name] + least, name
    assert after["lockgate_cache_bytes"] <= after["lockgate_cache_capacity_bytes"] == 8 << 20
