"""The same small application in five frameworks: their responses do not depend on the server."""

import hashlib
import importlib.util
import json

import pytest
from harness import Browser, chunked, request
from harness.requirements import require_module

FRAMEWORKS = ["flask", "django", "bottle", "falcon", "pyramid"]


@pytest.fixture(scope="module", params=FRAMEWORKS)
def server(shared, request):
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return shared(f"{request.param}_app:app", "--threads", "2")


@pytest.fixture
def browser(server):
    return Browser(server.url)


def test_get_and_head(server, browser):
    page = browser.open("/")
    assert (page.status, page.text) == (200, "hello")
    bare = server.get("/", method="HEAD")
    assert bare.status in (200, 405) and bare.body == b""


def test_an_unknown_page_is_404(browser):
    assert browser.open("/no/such/page").status == 404


def test_a_posted_form(browser):
    fields = {"name": "Zoë & co", "text": "two\nlines"}
    assert browser.submit("/form", **fields).json() == fields


def test_posted_json(browser):
    value = {"a": [1, 2.5, None, "é"], "b": {"c": True}}
    assert browser.send_json("/json", value).json() == {"received": value}


def test_a_chunked_body_is_not_empty(server):
    head = request(
        "POST", "/json", "Content-Type: application/json", "Transfer-Encoding: chunked",
        "Connection: close",
    )  # fmt: skip
    response = server.exchange(head + chunked([b'{"a": ', b"[1,2", b"]}"]))
    assert json.loads(response.body) == {"received": {"a": [1, 2]}}


@pytest.mark.parametrize("size", [0, 10, 3_000_000])
def test_an_upload(browser, size):
    data = (bytes(range(256)) * (size // 256 + 1))[:size]
    page = browser.upload("/upload", "data.bin", data)
    assert page.status == 200, page.text
    assert page.json() == {"name": "data.bin", "sha256": hashlib.sha256(data).hexdigest()}


def test_a_streamed_answer(browser):
    expected = "".join(f"line {number}\n" for number in range(100))
    assert browser.open("/stream").text == expected


def test_a_session_cookie(browser, server):
    assert [browser.open("/session").text for _ in range(3)] == ["1", "2", "3"]
    assert Browser(server.url).open("/session").text == "1"


def test_an_error_in_a_view_is_a_500_and_the_server_continues(browser):
    assert browser.open("/error").status == 500
    assert browser.open("/").status == 200


@pytest.mark.parametrize("framework", ["flask", "django"])
@pytest.mark.parametrize("path", ["/shop/where", "/where"], ids=["whole", "cut-by-the-proxy"])
def test_links_begin_with_the_root_path(shared, framework, path):
    require_module(framework)
    server = shared(f"{framework}_app:app", "--root-path", "/shop")
    seen = json.loads(server.get(path).body)
    assert seen == {"link": "/shop/where", "script_name": "/shop", "path": "/where"}


@pytest.mark.parametrize("framework", ["flask", "django"])
def test_links_begin_with_the_prefix_that_a_trusted_proxy_forwards(shared, framework):
    require_module(framework)
    server = shared(f"{framework}_app:app", "--forwarded-prefix")
    for prefix, link in [("/a", "/a/where"), ("/b/c/", "/b/c/where"), ("/", "/where")]:
        seen = json.loads(server.get("/where", f"X-Forwarded-Prefix: {prefix}").body)
        assert (seen["link"], seen["path"]) == (link, "/where")
