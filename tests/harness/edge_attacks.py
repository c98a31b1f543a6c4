"""Attacks on static files, ranges and a shared cache, for any server before `apps/edge_site.py`.

A case is a function of a `Target`; it gives what happened in a few words, and whether that is safe.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from harness.wire import Malformed, Response, Truncated, Wire, request

SECRET = b"SECRET of another directory"
PUBLIC = quote("public, max-age=3600")
PATIENCE = 10.0
BIG = 1 << 20
#: Clients of this machine are not proxies, as those of the internet are not.
NO_TRUST = ("--forwarded-allow-ips", "192.0.2.1")


@dataclass
class Outcome:
    text: str
    is_safe: bool


class Target:
    """A server with the files of `make_root` at /static and `edge_site` behind a cache."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        # Two runs must not share a key.
        self.numbers = itertools.count(random.randrange(1 << 40))

    def send(self, data: bytes, method: str = "GET") -> Response:
        with Wire(self.address, PATIENCE) as wire:
            wire.send_while_open(data)
            return wire.response(method)

    def get(self, target: str, *headers: str, **options: str | None) -> Response:
        return self.send(request("GET", target, *headers, "Connection: close", **options))

    def cold(self, *fields: str, cc: str = PUBLIC) -> str:
        """The target of a response that may be stored, and of which nothing is stored yet."""
        return "/answer?" + "&".join([f"cc={cc}", f"n={next(self.numbers)}", *fields])


def seen(response: Response) -> dict[str, str | int | None]:
    """What the application has seen of the request, or nothing."""
    if response.status != 200 or not response.body.startswith(b"{"):
        return {}
    return json.loads(response.body.partition(b"\n")[0])


def make_root(root: Path) -> None:
    """Files, and names that lead out of `root` or are not files."""
    (root.parent / "secret.txt").write_bytes(SECRET)
    (root / "site.css").write_bytes(b"body { color: black }\n" * 100)
    (root / "big.bin").write_bytes(bytes(range(256)) * (BIG >> 8))
    (root / ".env").write_bytes(SECRET)
    (root / ".git").mkdir()
    (root / ".git/config").write_bytes(SECRET)
    (root / "inside").mkdir()
    (root / "inside/page.txt").write_bytes(b"page\n")
    (root / "out.txt").symlink_to("../secret.txt")
    (root / "outdir").symlink_to("..")
    (root / "absolute.txt").symlink_to(root.parent / "secret.txt")
    (root / "device.txt").symlink_to("/dev/zero")
    os.mkfifo(root / "fifo.txt")
    (root / "beside.css").write_bytes(b"a { color: red }\n" * 100)
    (root / "beside.css.gz").symlink_to("../secret.txt")
    (root / "only.css.gz").write_bytes(gzip.compress(b"no plain file"))


#: Path traversal: all of these lead to SECRET where a server gets one of them wrong.
TRAVERSALS = {
    "dot segments": "/static/../secret.txt",
    "dot segments below a directory": "/static/inside/../../secret.txt",
    "encoded dots": "/static/%2e%2e/secret.txt",
    "encoded slash": "/static/..%2fsecret.txt",
    "encoded dots and slash": "/static/%2E%2E%2Fsecret.txt",
    "encoded twice": "/static/%252e%252e%252fsecret.txt",
    "backslash": "/static/..\\secret.txt",
    "encoded backslash": "/static/..%5csecret.txt",
    "overlong UTF-8": "/static/%c0%ae%c0%ae%c0%afsecret.txt",
    "full-width dots": "/static/%ef%bc%8e%ef%bc%8e/secret.txt",
    "%u escapes": "/static/%u002e%u002e/secret.txt",
    "four dots": "/static/....//secret.txt",
    "slashes and dots": "/static//.//..//secret.txt",
    "path parameter": "/static/..;/secret.txt",
    "NUL": "/static/..%00/secret.txt",
    "NUL after the name": "/static/out.txt%00.css",
    "the prefix without its slash": "/static../secret.txt",
    "an absolute path": "/static//etc/passwd",
    "an absolute target": "http://lockgate.test/static/%2e%2e/secret.txt",
    "a dotfile": "/static/.env",
    "an encoded dotfile": "/static/%2eenv",
    "a hidden directory": "/static/.git/config",
    "a link out of the directory": "/static/out.txt",
    "a link to a directory outside": "/static/outdir/secret.txt",
    "a link with an absolute path": "/static/absolute.txt",
    "a link to a device": "/static/device.txt",
    "a fifo": "/static/fifo.txt",
    "a name of 300 bytes": "/static/" + "x" * 300,
    "a path of 6000 bytes": "/static/" + "x/" * 3000,
}


def traverse(target: Target, path: str) -> Outcome:
    response = target.get(path)
    is_leaked = SECRET in response.body or b"root:" in response.body or len(response.body) > 9000
    if is_leaked:
        return Outcome("**gives the file**", False)
    if response.body.startswith(b"NOT A FILE"):
        return Outcome("the application's 404", True)
    return Outcome(str(response.status), response.status in (301, 308, 400, 403, 404, 414))


def sidecar_out(target: Target) -> Outcome:
    response = target.get("/static/beside.css", "Accept-Encoding: gzip")
    is_leaked = SECRET in response.body
    return Outcome("**gives the linked file**" if is_leaked else "the plain file", not is_leaked)


def sidecar_alone(target: Target) -> Outcome:
    response = target.get("/static/only.css", "Accept-Encoding: gzip")
    is_served = response.header("Content-Encoding") == "gzip"
    return Outcome("served" if is_served else "404", not is_served)


def redirect_out(target: Target) -> Outcome:
    places = []
    for path in ("/static//evil.test/..", "/static/inside", "//evil.test/static/../static/inside"):
        location = target.get(path).header("Location") or ""
        places.append("evil.test/" in location.partition("/static")[0] or location.startswith("//"))
    return Outcome("**to another host**" if any(places) else "none", not any(places))


def redirect_split(target: Target) -> Outcome:
    try:
        response = target.get("/static/inside%0d%0aX-Evil:%20yes")
    except Malformed as error:
        return Outcome(f"**{error}**", False)
    return Outcome(str(response.status), response.header("X-Evil") is None)


def many_ranges(field: str) -> Callable[[Target], Outcome]:
    def attack(target: Target) -> Outcome:
        response = target.get("/static/big.bin", f"Range: bytes={field}")
        amount = len(response.body)
        times = f"{amount / BIG:.2f} × the file" if amount > 10_000 else f"{amount} bytes"
        return Outcome(f"{response.status}, {times}", amount <= BIG * 1.01)

    return attack


def many_disjoint(target: Target) -> Outcome:
    ranges = ",".join(f"{number * 1000}-{number * 1000}" for number in range(500))
    response = target.get("/static/big.bin", f"Range: bytes={ranges}")
    parts = response.body.count(b"Content-Range") if response.status == 206 else 0
    text = f"206 with {parts} parts" if parts else f"{response.status}, the whole"
    return Outcome(text, parts <= 100)


def echoes(field: str, vary: bool = False) -> Callable[[Target], Outcome]:
    """A field that is not in the key and that the application shows."""

    def attack(target: Target) -> Outcome:
        path = target.cold(f"echo={field}", *([f"vary={field}"] if vary else []))
        target.get(path, f"{field}: evil.test")
        value = seen(target.get(path))["echo"]
        return Outcome("**poisoned**" if value else "not poisoned", not value)

    return attack


def fat_get(target: Target) -> Outcome:
    path = target.cold()
    target.send(request("GET", path, "Connection: close", body=b"evil"))
    body = seen(target.get(path))["body"]
    return Outcome("**poisoned**" if body else "not poisoned", not body)


def first(
    *headers: str, fields: tuple[str, ...] = (), method: str = "GET"
) -> Callable[[Target], Outcome]:
    """The first request has these headers; the second one must get a whole response."""

    def attack(target: Target) -> Outcome:
        path = target.cold(*fields)
        target.send(request(method, path, *headers, "Connection: close"), method)
        response = target.get(path)
        is_whole = bool(seen(response)) and "Content-Encoding" not in dict(response.headers)
        return Outcome("not poisoned" if is_whole else f"**{response.status}**", is_whole)

    return attack


def is_stored(
    *fields: str, cc: str = "", headers: tuple[str, ...] = ()
) -> Callable[[Target], Outcome]:
    """A response that must not be stored."""

    def attack(target: Target) -> Outcome:
        path = target.cold(*fields, cc=cc) if cc else target.cold(*fields).replace("cc=", "x=")
        calls = [target.get(path, *headers).body for _ in range(2)]
        is_same = calls[0] == calls[1]
        return Outcome("**stored**" if is_same else "not stored", not is_same)

    return attack


def private_field(target: Target) -> Outcome:
    """The response may be stored without the field (RFC 9111 §5.2.2.7)."""
    path = target.cold("secret=mine", cc="private%3D%22X-Secret%22%2C%20max-age=60")
    calls = [target.get(path) for _ in range(2)]
    if calls[0].body != calls[1].body:
        return Outcome("not stored", True)
    is_given = calls[1].header("X-Secret") is not None
    return Outcome("**stored**" if is_given else "stored without it", not is_given)


def too_large_head(target: Target) -> Outcome:
    path = target.cold()
    with Wire(target.address, PATIENCE) as wire:
        wire.send_while_open(request("GET", path, "X-Large: " + "x" * 100_000))
        try:
            status = str(wire.response().status)
        except (Truncated, ConnectionError):
            status = "reset"
    later = target.get(path).status
    return Outcome(f"{status}, later {later}", later == 200)


def other_user(target: Target) -> Outcome:
    """Twenty users ask for one key at once, and the answer turns out to be private."""
    path = target.cold("echo=Cookie", "sleep=0.2", cc="private")

    def ask(number: int) -> bool:
        return seen(target.get(path, f"Cookie: user={number}"))["echo"] == f"user={number}"

    with ThreadPoolExecutor(20) as pool:
        right = sum(pool.map(ask, range(20)))
    return Outcome(f"{right} of 20 get their own", right == 20)


def hosts(first_request: str, second_request: str) -> Callable[[Target], Outcome]:
    """{path} is the target; the second client must not get what was made for the first one's host.

    The first line may be an absolute target, a space and the value of Host.
    """

    def attack(target: Target) -> Outcome:
        path = target.cold()
        responses = []
        for text in (first_request, second_request):
            line, _, host = text.format(path=path).rpartition(" ")
            responses.append(target.get(line or path, host=host))
        if responses[0].status == 400:
            return Outcome("400", bool(seen(responses[1])))
        made_for = seen(responses[1])["host"]
        is_right = made_for == host
        return Outcome("its own response" if is_right else f"**that of {made_for}**", is_right)

    return attack


def same_host(one: str, other: str) -> Callable[[Target], Outcome]:
    """Two spellings of one host; that they share an entry is no more than economical."""

    def attack(target: Target) -> Outcome:
        path = target.cold()
        calls = [seen(target.get(path, host=host)).get("call") for host in (one, other)]
        return Outcome("one entry" if calls[0] == calls[1] else "two entries", True)

    return attack


def scheme(target: Target) -> Outcome:
    path = target.cold("echo=X-Forwarded-Proto")
    target.get(path, "X-Forwarded-Proto: https")
    got = seen(target.get(path))
    is_poisoned = got["scheme"] == "https" or got["echo"] is not None
    return Outcome("**poisoned**" if is_poisoned else "not poisoned", not is_poisoned)


DECEPTIONS = (
    "/account/x.css",
    "/account/x.css?y=1",
    "/account;x.css",
    "/account%2fx.css",
    "/account%00x.css",
    "/account%0ax.css",
    "/account%23x.css",
    "/account%3fx.css",
    "/static/..%2faccount",
    "/static/%2e%2e/account/x.css",
    "/account/../static/site.css",
    "/account/..%2fstatic/site.css",
)


def deceive(target: Target) -> Outcome:
    """The victim opens a page of their own under a name that looks like a file."""
    leaked = []
    for path in DECEPTIONS:
        target.get(path, "Cookie: user=victim")
        if b"victim" in target.get(path).body:
            leaked.append(path)
    return Outcome(f"**stored: {leaked}**" if leaked else "never stored", not leaked)


def purge(data: str, body: bytes | None = None) -> Callable[[Target], Outcome]:
    """{path} is the target of a stored response, which must stay stored."""

    def attack(target: Target) -> Outcome:
        path = target.cold()
        before = seen(target.get(path))["call"]
        line, *headers = data.format(path=path).split("\n")
        method, place = line.split(" ")
        response = target.send(
            request(method, place, *headers, "Connection: close", body=body), method
        )
        is_kept = seen(target.get(path))["call"] == before
        text = f"{response.status}, " + ("the entry stays" if is_kept else "**purged**")
        return Outcome(text, is_kept)

    return attack


def bomb(variant: Callable[[int], tuple[str, str]], count: int) -> Callable[[Target], Outcome]:
    """Many variants of 8 KiB; another stored response, in use all the time, must stay stored."""

    def attack(target: Target) -> Outcome:
        hot = target.cold()
        calls = {seen(target.get(hot))["call"]}
        base = target.cold("size=8192", "vary=X-Kind")
        # Some on each connection: nginx closes one after 1,000 requests.
        for start in range(0, count, 20):
            with Wire(target.address, PATIENCE) as wire:
                for number in range(start, start + 20):
                    query, header = variant(number)
                    wire.send(request("GET", base + query, header))
                    assert wire.response().status == 200
                wire.send(request("GET", hot))
                calls.add(seen(wire.response())["call"])
        text = "the response in use stays" if len(calls) == 1 else f"it was made {len(calls)} times"
        return Outcome(text, len(calls) == 1)

    return attack


def codings(target: Target) -> Outcome:
    path = target.cold("vary=Accept-Encoding", "size=4096")
    calls = {
        target.get(path, f"Accept-Encoding: gzip;q=0.{number}, x-{number}").body.partition(b"\n")[0]
        for number in range(100, 200)
    }
    return Outcome("made once" if len(calls) == 1 else f"made {len(calls)} times", True)


def inflate(target: Target) -> Outcome:
    body = gzip.compress(bytes(8 << 20))
    data = request("POST", "/answer", "Content-Encoding: gzip", "Connection: close", body=body)
    text = seen(target.send(data))["body"]
    is_decoded = isinstance(text, str) and len(text) != len(body)
    return Outcome("**decoded**" if is_decoded else "passed on as it is", not is_decoded)


def long_list_of_codings(target: Target) -> Outcome:
    field = "Accept-Encoding: " + ", ".join(f"x{number};q=0.5" for number in range(600))
    response = target.get("/static/site.css", field)
    return Outcome(str(response.status), response.status == 200)


def cases() -> Iterator[tuple[str, str, Callable[[Target], Outcome]]]:
    """What is attacked, how, and the attack."""
    for title, path in TRAVERSALS.items():
        yield "path", title, lambda target, path=path: traverse(target, path)
    yield "path", "a sidecar that links out of the directory", sidecar_out
    yield "path", "a sidecar without its file", sidecar_alone
    yield "path", "a redirect of a directory to another host", redirect_out
    yield "path", "a line break in a redirect", redirect_split
    yield "range", "100 times the whole file", many_ranges(",".join(["0-"] * 100))
    yield "range", "overlapping suffixes", many_ranges(",".join(f"-{n}000" for n in range(1, 900)))
    yield "range", "500 single bytes", many_disjoint
    for field in ("X-Forwarded-Host", "X-Forwarded-Scheme", "Forwarded", "X-Original-URL"):
        yield "poisoning", f"`{field}`, shown by the application", echoes(field)
    yield "poisoning", "another field, without Vary", echoes("X-Theme")
    yield "poisoning", "another field, with Vary", echoes("X-Theme", vary=True)
    yield "poisoning", "`X-Forwarded-Proto`", scheme
    yield "poisoning", "a body in a GET", fat_get
    yield "poisoning", "HEAD first", first(method="HEAD")
    yield "poisoning", "a range first", first("Range: bytes=0-0")
    yield "poisoning", "a condition first", first('If-None-Match: "a"', fields=("etag=%22a%22",))
    yield "poisoning", "a coding first", first("Accept-Encoding: gzip", fields=("size=5000",))
    yield "poisoning", "a head that is too large", too_large_head
    yield "poisoning", "an error without a lifetime", is_stored("status=500")
    yield "secrets", "Set-Cookie in a public response", is_stored("cookie=a%3Db", cc=PUBLIC)
    yield "secrets", "`private`", is_stored(cc="private%2C%20max-age=60")
    yield "secrets", 'a field in `private="X-Secret"`', private_field
    yield (
        "secrets",
        "Authorization, and only max-age",
        is_stored(cc="max-age=60", headers=("Authorization: Basic YTpi",)),
    )
    yield "secrets", "Vary: *", is_stored("vary=*", cc=PUBLIC)
    yield "secrets", "20 users at once on a private page", other_user
    yield "secrets", "pages named like files (cache deception)", deceive
    yield "host", "another port", hosts(" shop.test:81", " shop.test")
    yield "host", "another host", hosts(" evil.test", " shop.test")
    yield (
        "host",
        "an absolute target, and Host of a victim",
        hosts("http://evil.test{path} shop.test", " shop.test"),
    )
    yield (
        "host",
        "an absolute target of a victim, and Host",
        hosts("http://shop.test{path} evil.test", " evil.test"),
    )
    yield "host", "userinfo", hosts(" shop.test@evil.test", " evil.test")
    yield "host", "a dot at its end", hosts(" shop.test.", " shop.test")
    yield "host", "key and query exchanged", hosts(" shop.test/x?", " shop.test")
    yield "host", "upper case", same_host("SHOP.test", "shop.test")
    yield "host", "the default port", same_host("shop.test:80", "shop.test")
    yield "purge", "the method PURGE", purge("PURGE {path}")
    yield "purge", "the method BAN", purge("BAN {path}")
    yield "purge", "DELETE, which the application refuses", purge("DELETE {path}")
    yield "purge", "a method override", purge("GET {path}&y=1\nX-HTTP-Method-Override: PURGE")
    yield "purge", "POST /cache/purge", purge("POST /cache/purge", b'{"all": true}')
    yield "bombs", "2,000 values of a field in Vary", bomb(lambda n: ("", f"X-Kind: {n}"), 2000)
    yield "bombs", "2,000 queries", bomb(lambda n: (f"&q={n}", "X-Kind: 1"), 2000)
    yield "bombs", "100 values of Accept-Encoding", codings
    yield "bombs", "600 codings in Accept-Encoding", long_list_of_codings
    yield "bombs", "a gzip bomb in a request", inflate


def outcome(attack: Callable[[Target], Outcome], target: Target) -> Outcome:
    try:
        return attack(target)
    except TimeoutError:
        return Outcome("**no response**", False)
    except (ConnectionError, Truncated) as error:
        return Outcome(f"**{type(error).__name__}**", False)
    except KeyError:
        return Outcome("**no answer of the application**", False)
