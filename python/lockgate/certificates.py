"""`lockgate ctl certificates`: the certificates that the server presents."""

from __future__ import annotations

import time
from typing import Any

from lockgate.admin_client import printable


def certificate_lines(status: Any) -> list[str]:
    """One block for each certificate in an answer of `/status`, the default certificate first."""
    certificates = status["certificates"]
    if not certificates:
        return ["the server presents no certificate"]
    blocks = [block(certificate) for certificate in certificates]
    return "\n\n".join(blocks).split("\n")


def block(certificate: Any) -> str:
    fields = {
        "names": ", ".join(certificate["names"]) or "(none)",
        "issuer": certificate["issuer"],
        "serial": certificate["serial"],
        "key": certificate["key"],
        "valid": f"{moment(certificate['not_before'])} to {moment(certificate['not_after'])}",
        "expires": remaining(certificate["expires_in_days"]),
        "source": certificate["source"],
    }
    return "\n".join(f"{name:<8} {printable(str(text))}" for name, text in fields.items())


def moment(seconds: int) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
    except (OverflowError, OSError, ValueError):
        return f"@{seconds}"


def remaining(days: int) -> str:
    if days < 0:
        return f"expired {-days} day{'s' * (days < -1)} ago"
    return f"in {days} day{'s' * (days != 1)}"
