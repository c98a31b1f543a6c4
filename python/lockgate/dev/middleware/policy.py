"""Content Security Policy: whether a page may load a script from its own server and connect to it
(https://www.w3.org/TR/CSP3/)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

Directives = dict[str, list[str]]


class Allowed(NamedTuple):
    #: The nonce that the script needs.
    nonce: str | None = None


class Forbidden(NamedTuple):
    #: The directive that forbids it, as the page has it.
    directive: str


def judge(policies: Iterable[str], scheme: str, host: str) -> Allowed | Forbidden:
    """What the values of all `Content-Security-Policy` fields say together. `scheme` and `host`
    are those of the page."""
    nonces: list[set[str]] = []
    for value in policies:
        for policy in value.split(","):
            directives = parsed(policy)
            sandbox = directives.get("sandbox")
            if sandbox is not None and not {"allow-scripts", "allow-same-origin"} <= set(sandbox):
                return Forbidden(written("sandbox", sandbox))
            name, sources = first(directives, ("connect-src", "default-src"))
            if sources is not None and not matches(sources, scheme, host):
                return Forbidden(written(name, sources))
            name, sources = first(directives, ("script-src-elem", "script-src", "default-src"))
            if sources is None:
                continue
            known = set(nonces_of(sources))
            if known:
                nonces.append(known)
            elif "'strict-dynamic'" in sources or not matches(sources, scheme, host):
                return Forbidden(written(name, sources))
    if not nonces:
        return Allowed()
    common = sorted(set.intersection(*nonces))
    return Allowed(common[0]) if common else Forbidden("script-src with different nonces")


def parsed(policy: str) -> Directives:
    """The first directive of a name counts (§2.2.1)."""
    directives: Directives = {}
    for directive in policy.split(";"):
        words = directive.split()
        if words:
            directives.setdefault(words[0].lower(), words[1:])
    return directives


def first(directives: Directives, names: Sequence[str]) -> tuple[str, list[str] | None]:
    for name in names:
        if name in directives:
            return name, directives[name]
    return "", None


def nonces_of(sources: Iterable[str]) -> Iterable[str]:
    for source in sources:
        if source.lower().startswith("'nonce-") and source.endswith("'"):
            yield source[len("'nonce-") : -1]


def matches(sources: Iterable[str], scheme: str, host: str) -> bool:
    """Whether a URL of the page's own origin is among the sources. A source with a path is not
    counted: the script has another one."""
    own = {"'self'", "*", f"{scheme}:", host, f"{scheme}://{host}"}
    if scheme == "https":
        # A source for http also matches https (§6.7.2.8).
        own |= {"http:", f"http://{host}"}
    return any(source.lower().rstrip("/") in own for source in sources)


def written(name: str, sources: Sequence[str]) -> str:
    return " ".join([name, *sources])
