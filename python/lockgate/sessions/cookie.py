"""The session cookie: its name and attributes, and where it is in a request."""

from __future__ import annotations

import re
from dataclasses import dataclass

# What browsers keep of a cookie at least (RFC 6265, section 6.1).
LONGEST_COOKIE = 4096
SAME_SITE = ("Strict", "Lax", "None")

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_ATTRIBUTE = re.compile(r"[\x20-\x3a\x3c-\x7e]*")


@dataclass(frozen=True)
class CookieSettings:
    """What `Set-Cookie` says beside the value."""

    name: str = "session"
    path: str = "/"
    domain: str | None = None
    # None: as the scheme of the request says.
    secure: bool | None = None
    http_only: bool = True
    same_site: str | None = "Lax"
    # Whether a secure cookie gets the prefix of its kind.
    has_prefix: bool = True
    partitioned: bool = False

    def __post_init__(self) -> None:
        if not _TOKEN.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name of a cookie")
        for value in (self.path, self.domain or ""):
            if not _ATTRIBUTE.fullmatch(value):
                raise ValueError(f"{value!r} is no value of a cookie's attribute")
        if self.same_site is not None and self.same_site not in SAME_SITE:
            raise ValueError(f"same_site is one of {', '.join(SAME_SITE)}, not {self.same_site!r}")
        if self.same_site == "None" and self.secure is False:
            raise ValueError("same_site='None' needs secure cookies: browsers ignore others")

    def is_secure(self, is_https: bool) -> bool:
        return is_https if self.secure is None else self.secure

    def full_name(self, is_https: bool) -> str:
        """The name with its prefix: no page without HTTPS, and with `__Host-` no other host, can
        set such a cookie."""
        if not (self.has_prefix and self.is_secure(is_https)):
            return self.name
        is_of_host = self.path == "/" and self.domain is None
        return ("__Host-" if is_of_host else "__Secure-") + self.name

    def set_cookie(self, value: str, max_age: int | None, is_https: bool) -> str:
        parts = [f"{self.full_name(is_https)}={value}", f"Path={self.path}"]
        if self.domain is not None:
            parts.append(f"Domain={self.domain}")
        if max_age is not None:
            parts.append(f"Max-Age={max_age}")
        if self.is_secure(is_https):
            parts.append("Secure")
        if self.http_only:
            parts.append("HttpOnly")
        if self.same_site is not None:
            parts.append(f"SameSite={self.same_site}")
        if self.partitioned:
            parts.append("Partitioned")
        return "; ".join(parts)

    def values(self, header: str, is_https: bool) -> list[str]:
        """All values that a `Cookie` field has under the name."""
        full_name = self.full_name(is_https)
        pairs = (pair.partition("=") for pair in header.split(";"))
        return [value.strip() for name, _, value in pairs if name.strip() == full_name]
