"""The cases of Go's net/http (ServeFileRangeTests) against a static file and a stored response."""

import re

import pytest
from harness import request
from harness.wire import Wire

DATA = b"0123456789\n"
LENGTH = len(DATA)
#: The field, and the ranges as first and last position + 1; an empty list is 416, None the whole.
CASES = [
    ("", None),
    ("bytes=0-4", [(0, 5)]),
    ("bytes=2-", [(2, LENGTH)]),
    ("bytes=-5", [(LENGTH - 5, LENGTH)]),
    ("bytes=3-7", [(3, 8)]),
    ("bytes=0-0,-2", [(0, 1), (LENGTH - 2, LENGTH)]),
    ("bytes=0-1,5-8", [(0, 2), (5, 9)]),
    ("bytes=0-1,5-", [(0, 2), (5, LENGTH)]),
    ("bytes=5-1000", [(5, LENGTH)]),
    ("bytes=0-,1-,2-,3-,4-", None),
    ("bytes=0-9", [(0, LENGTH - 1)]),
    ("bytes=0-10", [(0, LENGTH)]),
    ("bytes=0-11", [(0, LENGTH)]),
    ("bytes=10-11", [(LENGTH - 1, LENGTH)]),
    ("bytes=10-", [(LENGTH - 1, LENGTH)]),
    ("bytes=11-", []),
    ("bytes=11-12", []),
    ("bytes=12-12", []),
    ("bytes=11-100", []),
    ("bytes=12-100", []),
    ("bytes=100-", []),
    ("bytes=100-1000", []),
]
#: Beside Go's: what RFC 9110 §14 has too.
MORE = [
    ("bytes=-0", []),
    ("bytes=-100", [(0, LENGTH)]),
    ("bytes=0-0,20-30", [(0, 1)]),
    ("bytes = 0-4", None),
    ("bytes=4-0", None),
    ("bytes=a-b", None),
    ("bytes=", None),
    ("bytes=-", None),
    ("bytes=0-4,", [(0, 5)]),
    ("bytes=0-18446744073709551616", [(0, LENGTH)]),
    ("bytes=18446744073709551616-", []),
    ("lines=0-4", None),
    ("BYTES=0-4", [(0, 5)]),
]


@pytest.fixture(scope="module")
def server(shared, shared_site):
    (shared_site.root / "digits.txt").write_bytes(DATA)
    return shared("edge_ranges:app", "--static", f"/static={shared_site.root}", "--cache", "4MiB")


@pytest.fixture(params=["/static/digits.txt", "/stored"])
def target(request, server):
    if request.param == "/stored":
        # The whole, so that what follows comes from the cache.
        assert server.get("/stored").body == DATA
    return request.param


@pytest.mark.parametrize("field, wanted", CASES + MORE, ids=[case[0] for case in CASES + MORE])
def test_ranges_are_those_of_go(server, target, field, wanted):
    headers = [f"Range: {field}"] if field else []
    response = server.get(target, *headers)
    check(response, wanted)
    head = server.get(target, *headers, method="HEAD")
    # RFC 9110 §14.2: a range is defined for GET only.
    assert (head.status, head.header("Content-Length")) == (200, str(LENGTH))


def check(response, wanted):
    if wanted is None:
        assert (response.status, response.body) == (200, DATA)
        return
    assert response.status == (206 if wanted else 416), response
    if not wanted:
        assert response.header("Content-Range") == f"bytes */{LENGTH}"
        return
    if len(wanted) == 1:
        [(first, end)] = wanted
        assert response.body == DATA[first:end]
        assert response.header("Content-Range") == f"bytes {first}-{end - 1}/{LENGTH}"
        assert response.header("Content-Length") == str(end - first)
        return
    assert response.header("Content-Length") == str(len(response.body))
    assert response.header("Content-Range") is None
    assert parts_of(response) == [
        (f"bytes {first}-{end - 1}/{LENGTH}", DATA[first:end]) for first, end in wanted
    ]


def parts_of(response):
    """The Content-Range and the bytes of each part (RFC 9110 §14.6, RFC 2046 §5.1.1)."""
    kind = re.fullmatch(
        r'multipart/byteranges; *boundary="?([0-9A-Za-z\'()+_,./:=?-]{1,70})"?',
        response.header("Content-Type"),
    )
    assert kind, response.header("Content-Type")
    delimiter = b"\r\n--" + kind[1].encode()
    preamble, *parts, epilogue = (b"\r\n" + response.body).split(delimiter)
    assert (preamble, epilogue) == (b"", b"--\r\n")
    found = []
    for part in parts:
        head, _, body = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        assert fields["Content-Type"].startswith("text/plain")
        found.append((fields["Content-Range"], body))
    return found


@pytest.mark.parametrize("field", ["bytes=" + "0-," * 200 + "0-", "bytes=" + "0-0,2-2," * 100])
def test_a_flood_of_ranges_gets_the_whole(server, target, field):
    assert server.get(target, f"Range: {field}").status == 200


def test_a_range_of_another_version_gets_the_whole(server, target):
    entity_tag = server.get(target).header("ETag")
    fresh = server.get(target, "Range: bytes=0-4", f"If-Range: {entity_tag}")
    assert (fresh.status, fresh.body) == (206, DATA[:5])
    other = server.get(target, "Range: bytes=0-4", 'If-Range: "another"')
    assert (other.status, other.body) == (200, DATA)


def test_ranges_come_whole_over_one_connection(server, target):
    """The framing of each is right: the next response begins where it must."""
    with Wire(server.address) as wire:
        for field, wanted in CASES:
            wire.send(request("GET", target, *([f"Range: {field}"] if field else [])))
            check(wire.response(), wanted)
