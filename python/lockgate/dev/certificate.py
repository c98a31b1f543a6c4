"""Certificates of `lockgate dev`: settings for `--cert adhoc` and for files.

The server makes the certificate itself, as for `domain = ["localhost"]`, and keeps it: a browser
asks for an exception once, and not at each start.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

ADHOC = "adhoc"


def settings(
    cert: str | None, key: str | None, environment: Mapping[str, str]
) -> dict[str, object]:
    """The settings that `--cert` and `--key` stand for. Raises OSError if the directory of the
    certificate cannot be made."""
    if cert is None:
        return {}
    if cert != ADHOC:
        return {"certfile": cert, "keyfile": key}
    directory = cache_directory(environment)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return {"domain": ["localhost"], "acme_dir": str(directory)}


def cache_directory(environment: Mapping[str, str]) -> Path:
    """Where the certificate is kept, by the rules of XDG."""
    cache = environment.get("XDG_CACHE_HOME") or ""
    base = Path(cache) if os.path.isabs(cache) else Path.home() / ".cache"
    return base / "lockgate" / "dev"
