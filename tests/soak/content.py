"""The bytes of bodies: a function of the request's id, known to both sides."""

import hashlib


def content(identity: str, size: int) -> bytes:
    return hashlib.shake_128(identity.encode()).digest(size)
