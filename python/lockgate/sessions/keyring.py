"""The secrets of an application: the newest seals, and all of them open."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable

from lockgate._lockgate import Sealer

# As many bytes as the key that is derived. HKDF does not make a short secret strong.
SHORTEST_SECRET = 32
PURPOSE = b"lockgate.sessions 1 "
_URLSAFE = re.compile(rb"[A-Za-z0-9_-]*")


class Keyring:
    """Seals text into the values of cookies, and opens these."""

    def __init__(self, secrets: Iterable[str | bytes]) -> None:
        encoded = [secret.encode() if isinstance(secret, str) else secret for secret in secrets]
        if not encoded:
            raise ValueError("sessions need a secret")
        if any(len(secret) < SHORTEST_SECRET for secret in encoded):
            raise ValueError(
                f"a secret of sessions has at least {SHORTEST_SECRET} bytes; make one with "
                'python -c "import secrets; print(secrets.token_urlsafe(32))"'
            )
        self._sealers = [Sealer(secret, PURPOSE) for secret in encoded]

    def seal(self, message: bytes, name: str) -> str:
        """The value of the cookie with this name."""
        sealed = self._sealers[0].seal(message, name.encode())
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def open(self, value: str, name: str) -> tuple[bytes, bool] | None:
        """The message, and whether the newest secret has sealed it. None if none has."""
        sealed = _decode(value)
        if sealed is None:
            return None
        for index, sealer in enumerate(self._sealers):
            message = sealer.open(sealed, name.encode())
            if message is not None:
                return message, index == 0
        return None


def _decode(value: str) -> bytes | None:
    try:
        text = value.encode("ascii")
        # Python 3.15 warns of "+" and "/", which it decodes beside the other alphabet.
        if not _URLSAFE.fullmatch(text):
            return None
        sealed = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except (UnicodeEncodeError, binascii.Error):
        return None
    # The last character has bits that mean nothing: only one spelling of a value is valid.
    canonical = base64.urlsafe_b64encode(sealed).rstrip(b"=")
    return sealed if canonical == text else None
