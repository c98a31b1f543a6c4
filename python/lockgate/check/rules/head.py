"""Rules for the arguments of `start_response`: status, headers, exc_info."""

from __future__ import annotations

import re
from typing import Any

from lockgate.check import paragraphs
from lockgate.check.finding import ERROR, WARNING, Breach, Breaches, Rule

STATUS_TYPE = Rule(
    "status-type", ERROR, paragraphs.STRINGS, "The status is a `str`, such as `200 OK`."
)
STATUS_FORM = Rule(
    "status-form",
    ERROR,
    paragraphs.START_RESPONSE,
    "The status is three digits, a space and a reason, without control characters.",
)
STATUS_REASON = Rule(
    "status-reason",
    WARNING,
    paragraphs.START_RESPONSE,
    "The status has a reason: `200 OK`, and not `200`.",
)
STATUS_CODE = Rule(
    "status-code",
    ERROR,
    paragraphs.rfc9110("15"),
    "The status is from 200 to 599: interim responses are sent by the server.",
)
HEADERS_TYPE = Rule(
    "headers-type", ERROR, paragraphs.START_RESPONSE, "The headers are a list of tuples."
)
HEADERS_LIST = Rule(
    "headers-list",
    WARNING,
    paragraphs.START_RESPONSE,
    "The headers are a `list`, and no tuple, view of a dict or generator.",
)
HEADER_FORM = Rule(
    "header-form", ERROR, paragraphs.START_RESPONSE, "A header is a tuple of a name and a value."
)
HEADER_TUPLE = Rule(
    "header-tuple", WARNING, paragraphs.START_RESPONSE, "A header is a `tuple`, and no list."
)
HEADER_TYPE = Rule(
    "header-type", ERROR, paragraphs.STRINGS, "The name and the value of a header are `str`."
)
HEADER_NAME = Rule(
    "header-name",
    ERROR,
    paragraphs.rfc9110("5.1"),
    "The name of a header has letters, digits and hyphens, and no space or colon.",
)
HEADER_VALUE = Rule(
    "header-value",
    ERROR,
    paragraphs.START_RESPONSE,
    "The value of a header has no control characters, so no line break either.",
)
LATIN_1 = Rule(
    "latin-1",
    ERROR,
    paragraphs.UNICODE,
    "Status and headers have only characters of latin-1; others are encoded, as RFC 8187 has it.",
)
SUBCLASS = Rule(
    "subclass",
    WARNING,
    paragraphs.STRINGS,
    "Status, names and values are of the type `str` itself, and the body of `bytes` itself.",
)
STATUS_HEADER = Rule(
    "status-header",
    ERROR,
    paragraphs.START_RESPONSE,
    "No header is called `Status`: the status is an argument of its own.",
)
HOP_BY_HOP = Rule(
    "hop-by-hop",
    ERROR,
    paragraphs.OTHER_FEATURES,
    "No header is about the connection, such as `Connection`: those are the server's.",
)
LENGTH_FORM = Rule(
    "content-length-form",
    ERROR,
    paragraphs.rfc9110("8.6"),
    "Content-Length is a number, and given once.",
)
CONTENT_TYPE = Rule(
    "content-type-missing",
    WARNING,
    paragraphs.rfc9110("8.3"),
    "A response with a body has a Content-Type; without one browsers guess.",
)
EXC_INFO = Rule(
    "exc-info",
    ERROR,
    paragraphs.ERRORS,
    "exc_info is what `sys.exc_info()` returns in an exception handler, or None.",
)

RULES = (
    STATUS_TYPE,
    STATUS_FORM,
    STATUS_REASON,
    STATUS_CODE,
    HEADERS_TYPE,
    HEADERS_LIST,
    HEADER_FORM,
    HEADER_TUPLE,
    HEADER_TYPE,
    HEADER_NAME,
    HEADER_VALUE,
    LATIN_1,
    SUBCLASS,
    STATUS_HEADER,
    HOP_BY_HOP,
    LENGTH_FORM,
    CONTENT_TYPE,
    EXC_INFO,
)

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
CONNECTION = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
#: Statuses whose responses have no body.
BODILESS = (204, 304)
#: The application names another protocol with `Upgrade` (RFC 9110, 15.5.22).
UPGRADE_REQUIRED = 426


def code_of(status: object) -> int | None:
    """The number of a status, if it has one."""
    is_one = isinstance(status, str) and re.match(r"[0-9]{3}(?![0-9])", status)
    return int(str(status)[:3]) if is_one else None


def status(status: object) -> Breaches:
    if not isinstance(status, str):
        yield Breach(STATUS_TYPE, f"the status is {kind(status)}: {short(status)}")
        return
    yield from plain("the status", status)
    if CONTROL.search(status) or "\t" in status:
        yield Breach(STATUS_FORM, f"the status has a control character: {short(status)}")
    elif re.fullmatch(r"[0-9]{3} ?", status):
        yield Breach(STATUS_REASON, f"the status has no reason: {short(status)}")
    elif not re.match(r"[0-9]{3} \S", status) or status != status.rstrip():
        yield Breach(
            STATUS_FORM, f"the status is not three digits, a space and a reason: {short(status)}"
        )
    code = code_of(status)
    if code is not None and not 200 <= code <= 599:
        yield Breach(STATUS_CODE, f"the status is {code}, and not from 200 to 599")


def headers(headers: Any, code: int | None) -> Breaches:
    if isinstance(headers, (str, bytes)) or not hasattr(headers, "__iter__"):
        yield Breach(HEADERS_TYPE, f"the headers are {kind(headers)}: {short(headers)}")
        return
    if type(headers) is not list:
        yield Breach(HEADERS_LIST, f"the headers are {kind(headers)}, and not a list")
    if isinstance(headers, dict):
        yield Breach(HEADERS_TYPE, "the headers are a dict, whose items are names without values")
        return
    if hasattr(headers, "__next__"):
        # Reading it here would leave nothing for the server.
        return
    lengths = []
    for header in headers:
        found = list(one_header(header, code))
        yield from found
        if not found and header[0].lower() == "content-length":
            lengths.append(header[1])
    yield from content_length(lengths)


def one_header(header: Any, code: int | None) -> Breaches:
    if not isinstance(header, (tuple, list)) or len(header) != 2:
        yield Breach(HEADER_FORM, f"a header is no tuple of a name and a value: {short(header)}")
        return
    if not isinstance(header, tuple):
        yield Breach(HEADER_TUPLE, f"a header is {kind(header)}: {short(header)}")
    name, value = header
    if not isinstance(name, str):
        yield Breach(HEADER_TYPE, f"the name of a header is {kind(name)}: {short(name)}")
        return
    if not TOKEN.fullmatch(name):
        yield Breach(HEADER_NAME, f"the name of a header is {short(name)}")
    yield from plain(f"the name {name!r}", name)
    if not isinstance(value, str):
        yield Breach(HEADER_TYPE, f"the value of {name} is {kind(value)}: {short(value)}")
        return
    if CONTROL.search(value):
        # The value itself may be a secret, such as a cookie.
        yield Breach(HEADER_VALUE, f"the value of {name} has a control character")
    yield from plain(f"the value of {name}", value)
    yield from reserved(name, code)


def reserved(name: str, code: int | None) -> Breaches:
    lower = name.lower()
    if lower == "status":
        yield Breach(STATUS_HEADER, "a header is called Status")
    if lower in CONNECTION and (lower, code) != ("upgrade", UPGRADE_REQUIRED):
        yield Breach(HOP_BY_HOP, f"the header {name} is about the connection")


def content_length(values: list[str]) -> Breaches:
    if len(values) > 1:
        yield Breach(LENGTH_FORM, f"Content-Length is given {len(values)} times")
    for value in values:
        if not re.fullmatch(r"[0-9]+", value):
            yield Breach(LENGTH_FORM, f"Content-Length is no number: {short(value)}")


def exc_info(given: Any) -> Breaches:
    is_one = isinstance(given, tuple) and len(given) == 3
    if given is not None and not (is_one and isinstance(given[1], BaseException)):
        yield Breach(EXC_INFO, f"exc_info is {kind(given)}: {short(given)}")


def plain(what: str, text: str) -> Breaches:
    """Rules for every text of the head."""
    if type(text) is not str:
        yield Breach(SUBCLASS, f"{what} is {kind(text)}, a subclass of str")
    outside = next((letter for letter in text if ord(letter) > 0xFF), None)
    if outside is not None:
        yield Breach(LATIN_1, f"{what} has a character outside of latin-1: {outside!r}")


def kind(value: object) -> str:
    """Such as `an int`."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
