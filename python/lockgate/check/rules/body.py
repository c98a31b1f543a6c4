"""Rules for calls of `start_response`, for what the application returns, and for its streams."""

from __future__ import annotations

from lockgate.check import paragraphs
from lockgate.check.finding import ERROR, WARNING, Breach, Breaches, Rule
from lockgate.check.rules.head import BODILESS, SUBCLASS, kind, short

START_MISSING = Rule(
    "start-response-missing",
    ERROR,
    paragraphs.STREAMING,
    "`start_response` is called before the first piece of the body that is not empty.",
)
START_TWICE = Rule(
    "start-response-twice",
    ERROR,
    paragraphs.START_RESPONSE,
    "`start_response` is called again only with exc_info.",
)
START_ARGUMENTS = Rule(
    "start-response-arguments",
    ERROR,
    paragraphs.START_RESPONSE,
    "`start_response` gets a status, headers and maybe exc_info, by position.",
)
START_LATE = Rule(
    "start-response-late",
    ERROR,
    paragraphs.START_RESPONSE,
    "`start_response` is not called after its request has ended.",
)
TRAPPED = Rule(
    "exc-info-trapped",
    ERROR,
    paragraphs.ERRORS,
    "An exception that `start_response(…, exc_info)` raises is not caught.",
)
NOT_ITERABLE = Rule(
    "body-type",
    ERROR,
    paragraphs.APPLICATION,
    "The application returns an iterable of `bytes`, such as a list.",
)
PIECE = Rule(
    "body-piece", ERROR, paragraphs.STRINGS, "Each piece of the body is `bytes`, and no `str`."
)
LENGTH_OF_BODY = Rule(
    "body-len",
    ERROR,
    paragraphs.DETAILS,
    "`len()` of what the application returns is the number of its pieces.",
)
TOO_SHORT = Rule(
    "content-length-short",
    ERROR,
    paragraphs.CONTENT_LENGTH,
    "The body has as many bytes as its Content-Length: a shorter one breaks the connection off.",
)
TOO_LONG = Rule(
    "content-length-long",
    ERROR,
    paragraphs.CONTENT_LENGTH,
    "The body has no more bytes than its Content-Length: the rest is cut off.",
)
BODY_FORBIDDEN = Rule(
    "body-forbidden",
    ERROR,
    paragraphs.rfc9110("15.3.5"),
    "A response with the status 204 or 304 has no body.",
)
CLOSE = Rule(
    "close",
    ERROR,
    paragraphs.DETAILS,
    "`close()` of what the application returns raises no exception, also if the client has left.",
)
WRITE_TYPE = Rule("write-type", ERROR, paragraphs.WRITE, "`write()` gets `bytes`.")
WRITE_USED = Rule(
    "write",
    WARNING,
    paragraphs.WRITE,
    "New applications return or yield the body, and do not call `write()`.",
)
WRITE_LATE = Rule(
    "write-late",
    ERROR,
    paragraphs.WRITE,
    "`write()` is not called after the call of the application, or in `close()`.",
)
INPUT_CLOSED = Rule(
    "input-close", ERROR, paragraphs.STREAMS, "The application does not close `wsgi.input`."
)
ERRORS_CLOSED = Rule(
    "errors-close", ERROR, paragraphs.STREAMS, "The application does not close `wsgi.errors`."
)
ERRORS_TYPE = Rule("errors-type", ERROR, paragraphs.STREAMS, "`wsgi.errors` is written as `str`.")

RULES = (
    START_MISSING,
    START_TWICE,
    START_ARGUMENTS,
    START_LATE,
    TRAPPED,
    NOT_ITERABLE,
    PIECE,
    LENGTH_OF_BODY,
    TOO_SHORT,
    TOO_LONG,
    BODY_FORBIDDEN,
    CLOSE,
    WRITE_TYPE,
    WRITE_USED,
    WRITE_LATE,
    INPUT_CLOSED,
    ERRORS_CLOSED,
    ERRORS_TYPE,
)


def iterable(body: object) -> Breaches:
    """What the application returns."""
    if isinstance(body, (str, bytes, bytearray, memoryview)):
        yield Breach(
            NOT_ITERABLE,
            f"the application returns {kind(body)}, {short(body)}: return a list of one bytes",
        )
    elif body is None:
        yield Breach(NOT_ITERABLE, "the application returns None, and not an iterable of bytes")
    elif not hasattr(body, "__iter__") and not hasattr(body, "__getitem__"):
        yield Breach(NOT_ITERABLE, f"the application returns {kind(body)}, which is not iterable")


def piece(piece: object, how: Rule = PIECE) -> Breaches:
    if not isinstance(piece, bytes):
        yield Breach(how, f"a piece of the body is {kind(piece)}, and not bytes: {short(piece)}")
    elif type(piece) is not bytes:
        yield Breach(SUBCLASS, f"a piece of the body is {kind(piece)}, a subclass of bytes")


def total(announced: int | None, sent: int, has_no_body: bool) -> Breaches:
    """At the end of a whole body; `has_no_body`: the response to HEAD, or one with the status 304,
    whose Content-Length is that of the response with 200 (RFC 9110, 8.6)."""
    if announced is None or has_no_body:
        return
    if sent < announced:
        yield Breach(TOO_SHORT, f"Content-Length is {announced}, and the body has {sent} bytes")
    if sent > announced:
        yield Breach(TOO_LONG, f"Content-Length is {announced}, and the body has {sent} bytes")


def allowed(code: int | None, sent: int) -> Breaches:
    if code in BODILESS and sent:
        yield Breach(BODY_FORBIDDEN, f"the response with the status {code} has a body")
