"""An element that is added to a page: to its bytes, and to what its head says about them.

Nothing here calls the application or the server.
"""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

Headers = list[tuple[str, str]]

#: A page whose announced length is at most this is held until it is complete, so that its length
#: stays announced.
MOST_HELD = 4 << 20

#: Digests of the content, which is another one afterwards, and dates by which an older copy of the
#: page would pass for this one.
DROPPED = {
    "accept-ranges",
    "content-digest",
    "content-encoding",
    "content-length",
    "content-md5",
    "digest",
    "last-modified",
    "repr-digest",
}

#: The server sends something else than the body of a response with one of these.
INSTRUCTIONS = ("grip-hold", "grip-link", "x-accel-redirect", "x-sendfile")

#: Marks the entity tags of pages with the element.
TAG_MARK = "-lockgate-"

END_OF_BODY = re.compile(rb"</body\b", re.IGNORECASE)
WHOLE_END = re.compile(rb"</body\s*>", re.IGNORECASE)
#: What may follow the end of the body in a page that is complete: each match is part of it. One
#: expression for all of them would try each way to divide comments, which takes exponential time.
REST = re.compile(rb"\s+|</html\s*>|<!--.*?-->", re.IGNORECASE | re.DOTALL)
DOCUMENT = re.compile(rb"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)


class Page(NamedTuple):
    """A response with a page that gets the element."""

    #: `gzip` or `deflate`; None: as it is.
    coding: str | None
    #: The length of the body, if it is announced.
    length: int | None

    @property
    def is_held(self) -> bool:
        return self.length is not None and self.length <= MOST_HELD


class Sealed(NamedTuple):
    """A page in a coding that this module does not open."""

    coding: str


def page_of(status: str, headers: Headers) -> Page | Sealed | None:
    """None: the response is no page."""
    code = status[:3]
    if code.startswith("1") or code in ("204", "205", "206", "304"):
        return None
    named = {name.lower(): value.strip() for name, value in headers}
    media_type, _, parameters = named.get("content-type", "").partition(";")
    if media_type.strip().lower() != "text/html" or "utf-16" in parameters.lower():
        return None
    if named.get("content-disposition", "").lower().startswith("attachment"):
        return None
    if any(name in named for name in INSTRUCTIONS):
        return None
    coding = named.get("content-encoding", "identity").lower()
    if coding not in ("identity", "gzip", "x-gzip", "deflate", ""):
        return Sealed(coding)
    length = named.get("content-length", "")
    return Page(
        coding=None if coding in ("identity", "") else coding.removeprefix("x-"),
        length=int(length) if length.isdecimal() else None,
    )


def page_headers(headers: Headers, generation: str) -> Headers:
    """The headers of the page with the element, without its length."""
    return [
        (name, with_mark(value, generation) if name.lower() == "etag" else value)
        for name, value in headers
        if name.lower() not in DROPPED
    ]


def with_mark(tag: str, generation: str) -> str:
    """The entity tag of the page with the element: its bytes depend on the version, too."""
    tag = tag.strip()
    return f'{tag[:-1]}{TAG_MARK}{generation}"' if tag.endswith('"') and len(tag) > 1 else tag


def without_mark(tags: str, generation: str) -> str:
    """A list of entity tags as the application knows them. Those of pages without the element, or
    with that of another version, are left out."""
    ending = f'{TAG_MARK}{generation}"'
    known = [tag for tag in re.findall(r'(?:W/)?"[^"]*"', tags) if tag.endswith(ending)]
    return ", ".join(tag[: -len(ending)] + '"' for tag in known)


def end_of_body(text: bytes) -> int | None:
    """Where the last `</body>` begins, if only the end of the document follows it."""
    start = None
    for found in END_OF_BODY.finditer(text):
        start = found.start()
    part = None if start is None else WHOLE_END.match(text, start)
    while part is not None and part.end() < len(text):
        part = REST.match(text, part.end())
    return None if part is None else start


class Injector:
    """Adds an element to a page that comes in pieces.

    The element stands before the end of the body where a piece has that end and nothing but the end
    of the document behind it; otherwise it follows the page, where a browser reads it as if it were
    inside. So no text of a script that contains `</body>` is changed.
    """

    def __init__(self, element: bytes, coding: str | None, is_document: bool) -> None:
        self._element = element
        self._decoder = None if coding is None else Decoder(coding)
        #: It is certain, or has been seen, that this is a whole document and no part of one.
        self._is_document = is_document
        self._is_first = True
        self._is_added = False

    def whole(self, body: bytes) -> bytes:
        """A complete body."""
        if self._decoder is not None:
            body = self._decoder.decode(body) + self._decoder.finish()
        if not self._is_document and not DOCUMENT.search(body):
            return body
        end = end_of_body(body)
        place = len(body) if end is None else end
        return body[:place] + self._element + body[place:]

    def piece(self, piece: bytes) -> bytes:
        return self._with_element(piece if self._decoder is None else self._decoder.decode(piece))

    def end(self) -> bytes:
        """What follows the last piece."""
        rest = b"" if self._decoder is None else self._with_element(self._decoder.finish())
        if self._is_added or not self._is_document:
            return rest
        self._is_added = True
        return rest + self._element

    def _with_element(self, piece: bytes) -> bytes:
        if self._is_first and piece:
            self._is_first = False
            self._is_document = self._is_document or bool(DOCUMENT.search(piece))
        if self._is_added or not self._is_document:
            return piece
        place = end_of_body(piece)
        if place is None:
            return piece
        self._is_added = True
        return piece[:place] + self._element + piece[place:]


class Decoder:
    """The content of a gzip or deflate stream."""

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._inner = zlib.decompressobj(16 + zlib.MAX_WBITS) if coding == "gzip" else None

    def decode(self, piece: bytes) -> bytes:
        if not piece:
            return b""
        if self._inner is None:
            # Some servers send deflate without the header of zlib (RFC 9110 §8.4.1.2).
            has_header = piece[0] & 0x0F == 8
            self._inner = zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)
        return self._inner.decompress(piece)

    def finish(self) -> bytes:
        return b"" if self._inner is None else self._inner.flush()
