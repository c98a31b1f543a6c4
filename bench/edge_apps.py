"""What edge.py measures of an application: a page of 20 KB, and answers that a cache may keep."""

import random
from pathlib import Path

FILES = Path(__file__).parent / "build" / "edge"
CACHED = ("Cache-Control", "public, max-age=3600")
HTML = ("Content-Type", "text/html; charset=utf-8")
WORDS = (
    "gate lock water level upstream downstream basin barge keeper bridge canal tow path wall "
    "chamber valve paddle culvert reach sluice weir summit pound mooring bollard anchor rope chain "
    "winch boat"
).split()


def page(size: int) -> bytes:
    """HTML of this many bytes with words, numbers and links in it, always the same."""
    source = random.Random(size)
    rows = []
    length = 0
    while length < size:
        name = " ".join(source.choices(WORDS, k=source.randint(2, 5))).capitalize()
        text = " ".join(source.choices(WORDS, k=source.randint(6, 18)))
        number = source.randrange(1_000_000)
        rows.append(
            f'<tr class="item"><td><a href="/items/{number}">{name}</a></td>'
            f'<td class="price">{source.random() * 1000:.2f}</td><td>{text}.</td></tr>\n'
        )
        length += len(rows[-1])
    text = (
        "<!doctype html>\n<html lang=en><head><title>Items</title></head><body><table>\n"
        + "".join(rows)
    )
    return text[: size - 8].encode() + b"</table>"


PAGES = {"/page": page(20_000), "/hit": b"Hello, World!", "/hit4k": page(4096)}
calls = 0


def app(environ, start_response):
    global calls
    calls += 1
    path = environ["PATH_INFO"]
    body = PAGES.get(path, b"")
    headers = [HTML, ("Content-Length", str(len(body))), ("X-Call", str(calls))]
    if path.startswith("/hit"):
        headers.append(CACHED)
    start_response("200 OK" if body else "404 Not Found", headers)
    return [body]


def whitenoise():
    from whitenoise import WhiteNoise

    return WhiteNoise(app, root=str(FILES), prefix="static/")
