"""`lockgate ctl certificates`: the certificates that the server presents, and their renewal."""

from __future__ import annotations

import time
from typing import Any

from lockgate.admin_client import printable


def certificate_lines(status: Any) -> list[str]:
    """A block for each certificate in an answer of `/status`, and for each renewal by ACME."""
    certificates = status["certificates"]
    if not certificates:
        return ["the server presents no certificate"]
    blocks = [certificate_fields(certificate) for certificate in certificates]
    blocks += [renewal_fields(renewal) for renewal in status["renewals"]]
    return "\n\n".join(block(fields) for fields in blocks).split("\n")


def block(fields: dict[str, str]) -> str:
    return "\n".join(f"{name:<8} {printable(str(text))}" for name, text in fields.items())


def certificate_fields(certificate: Any) -> dict[str, str]:
    return {
        "names": ", ".join(certificate["names"]) or "(none)",
        "issuer": certificate["issuer"],
        "serial": certificate["serial"],
        "key": certificate["key"],
        "valid": f"{moment(certificate['not_before'])} to {moment(certificate['not_after'])}",
        "expires": remaining(certificate["expires_in_days"]),
        "source": certificate["source"],
    }


def renewal_fields(renewal: Any) -> dict[str, str]:
    fields = {
        "renewal": renewal["name"],
        "issued": moment(renewal["last_success"]),
        "next": moment(renewal["next_attempt"]),
        "ca": renewal["directory"],
    }
    if renewal["failures"]:
        fields["failures"] = str(renewal["failures"])
        fields["error"] = renewal["last_error"]
    return fields


def moment(seconds: int | None) -> str:
    if seconds is None:
        return "-"
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
    except (OverflowError, OSError, ValueError):
        return f"@{seconds}"


def remaining(days: int) -> str:
    if days < 0:
        return f"expired {-days} day{'s' * (days < -1)} ago"
    return f"in {days} day{'s' * (days != 1)}"
