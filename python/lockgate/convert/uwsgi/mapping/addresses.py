"""Addresses of sockets, from uWSGI's form to Lockgate's."""

from __future__ import annotations

import ipaddress
import re


class BadAddress(Exception):
    """There is no such address; the text is advice."""


def address(text: str, shared: list[str]) -> tuple[str, str]:
    """The address in Lockgate's form, and what is to be said about it."""
    text = text.strip()
    if text.startswith("="):
        number = text[1:].strip()
        if not number.isdecimal() or len(number) > 3 or int(number) >= len(shared):
            raise BadAddress(f"there is no shared-socket with the number {number}")
        text = shared[int(number)].strip()
    if not text:
        raise BadAddress("an address is needed")
    if re.fullmatch(r"fd://\d+", text):
        return text, ""
    if text.startswith("@"):
        return f"unix:{text}", ""
    if ":" not in text:
        return unix(text)
    host, _, port = text.rpartition(":")
    port = port.strip()
    digits = re.match(r"\d+", port)
    if digits is None or len(digits[0]) > 5 or int(digits[0]) > 65535:
        raise BadAddress(f"{port} is not a port: set bind to HOST:PORT")
    port = digits[0]
    if "*" in host:
        return f":{port}", "every interface; uWSGI takes the first one that fits the pattern"
    if host.startswith("[") and host.endswith("]"):
        return f"{host}:{port}", ""
    if "/" in host or not re.fullmatch(r"[\w.-]*", host):
        raise BadAddress(f"{text} is not an address: set bind to HOST:PORT or unix:PATH")
    return f"{host}:{port}", ""


def unix(path: str) -> tuple[str, str]:
    if len(path.encode()) > 107:
        raise BadAddress("the path of a unix socket has at most 107 bytes")
    remark = ""
    if path.isdecimal():
        remark = (
            f"a number without a colon is the path of a unix socket; for the port write :{path}"
        )
    return f"unix:{path}", remark


def without_scheme(text: str) -> str:
    for scheme in ("http://", "https://", "uwsgi://"):
        text = text.removeprefix(scheme)
    return text


def is_open_to_others(text: str) -> bool:
    """Whether other machines can reach the address."""
    if text.startswith(("unix:", "fd://")):
        return False
    host = text.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True
