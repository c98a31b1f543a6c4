"""Rules of HTTP for responses, which any browser, proxy or cache may rely on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

from lockgate.check import paragraphs
from lockgate.check.driving import Outcome
from lockgate.check.finding import ERROR, WARNING, Breach, Breaches, Finding, Rule

LOCATION = Rule(
    "location-missing",
    ERROR,
    paragraphs.rfc9110("15.4"),
    "A redirect has a Location.",
)
ALLOW = Rule(
    "allow-missing",
    WARNING,
    paragraphs.rfc9110("15.5.6"),
    "A response with the status 405 has Allow, which names the methods.",
)
AUTHENTICATE = Rule(
    "authenticate-missing",
    WARNING,
    paragraphs.rfc9110("15.5.2"),
    "A response with the status 401 has WWW-Authenticate.",
)
ETAG = Rule(
    "etag-form", WARNING, paragraphs.rfc9110("8.8.3"), 'An ETag is in quotes: `"v1"` or `W/"v1"`.'
)
MODIFIED = Rule(
    "last-modified-form",
    WARNING,
    paragraphs.rfc9110("5.6.7"),
    "Last-Modified is a date such as `Sun, 06 Nov 1994 08:49:37 GMT`.",
)
HEAD = Rule(
    "head-status",
    WARNING,
    paragraphs.rfc9110("9.3.2"),
    "HEAD gets the status that GET gets.",
)
COOKIE_SECURE = Rule(
    "cookie-secure",
    WARNING,
    paragraphs.checking("cookies"),
    "Over HTTPS each cookie has `Secure`.",
)
COOKIE_SAMESITE = Rule(
    "cookie-samesite",
    ERROR,
    paragraphs.checking("cookies"),
    "A cookie with `SameSite=None` has `Secure`: browsers refuse others.",
)
COOKIE_SHARED = Rule(
    "cookie-cached",
    WARNING,
    paragraphs.page("docs/caching.md"),
    "A response that sets a cookie is not marked `public`: a cache would give it to other users.",
)

RULES = (
    LOCATION,
    ALLOW,
    AUTHENTICATE,
    ETAG,
    MODIFIED,
    HEAD,
    COOKIE_SECURE,
    COOKIE_SAMESITE,
    COOKIE_SHARED,
)

REDIRECTS = (301, 302, 303, 307, 308)


def fields(outcome: Outcome) -> Breaches:
    """Fields that a status needs, and their forms."""
    code = outcome.code
    if code in REDIRECTS and not outcome.all("location"):
        yield Breach(LOCATION, f"the redirect {code} has no Location")
    if code == 405 and not outcome.all("allow"):
        yield Breach(ALLOW, "the response 405 has no Allow")
    if code == 401 and not outcome.all("www-authenticate"):
        yield Breach(AUTHENTICATE, "the response 401 has no WWW-Authenticate")
    for value in outcome.all("etag"):
        if not re.fullmatch(r'(W/)?"[\x21\x23-\x7e\x80-\xff]*"', value):
            yield Breach(ETAG, f"the ETag is {value}, and not in quotes")
    for value in outcome.all("last-modified"):
        if not value.endswith("GMT") or not is_date(value):
            yield Breach(MODIFIED, f"Last-Modified is {value!r}")


def is_date(value: str) -> bool:
    try:
        parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return False
    return True


def cookies(outcome: Outcome, is_https: bool) -> Breaches:
    found = outcome.all("set-cookie")
    for value in found:
        pair, *rest = value.split(";")
        name = pair.partition("=")[0].strip()
        attributes = {part.strip().lower().replace(" ", "") for part in rest}
        if is_https and "secure" not in attributes:
            yield Breach(COOKIE_SECURE, f"the cookie {name} has no Secure")
        if "samesite=none" in attributes and "secure" not in attributes:
            yield Breach(COOKIE_SAMESITE, f"the cookie {name} has SameSite=None and no Secure")
    controls = ",".join(outcome.all("cache-control")).lower()
    if found and re.search(r"(^|[,\s])(public|s-maxage)", controls):
        yield Breach(COOKIE_SHARED, "a response with Set-Cookie may be cached for all users")


def response(outcome: Outcome, is_https: bool) -> Iterator[Finding]:
    for breach in (*fields(outcome), *cookies(outcome, is_https)):
        yield Finding(breach.rule, breach.text, outcome.place, str(outcome.request))


def head(get: Outcome, head: Outcome) -> Iterator[Finding]:
    if get.code == 200 and head.code is not None and head.code != 200:
        text = f"HEAD gets {head.code}, and GET gets 200"
        yield Finding(HEAD, text, head.place, str(head.request))
