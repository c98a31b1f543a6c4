"""Values as uWSGI reads them: leniently, with C's functions."""

from __future__ import annotations

import re

#: What switches a flag off; anything else, also nothing, switches it on.
OFF = ("false", "off", "no", "0")


def strtol(text: str) -> int:
    """The number at the start of the text, as strtol(3) and atoi(3) read it; 0 if there is none."""
    match = re.match(r"[ \t\n\r\f\v]*([+-]?[0-9]{1,18})", text)
    return int(match[1]) if match else 0


def is_on(value: str | None) -> bool:
    return value is None or value.strip().lower() not in OFF


def is_number(text: str) -> bool:
    return re.fullmatch(r"\s*[0-9]+\s*", text) is not None
