"""``lockgate.cache``: the response cache, as the application sees it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lockgate._lockgate import Purger

__all__ = ["purge"]

#: One for each cache of this process; None: it is not that of a server.
_purgers: list[Purger] | None = None


def install(purger: Purger | None) -> None:
    """Called by a server before the application is imported, and by each embedded one."""
    global _purgers
    _purgers = [*(_purgers or []), *([] if purger is None else [purger])]


def purge(
    *,
    url: str | Iterable[str] | None = None,
    tag: str | Iterable[str] | None = None,
    everything: bool = False,
) -> int:
    """Removes responses from the cache; returns the number of its entries that are removed.

    ``url`` is a whole URL, or several. All responses for it are removed, whatever they vary on.
    ``tag`` is a tag, or several, that responses have in the header ``Cache-Tag`` or
    ``Surrogate-Key``. When the call returns, no worker answers from what was removed, and a
    response that is being made meanwhile is not stored. With ``cache_redis`` the caches of other
    hosts are purged, too, a moment later; the number is that of this host.

    Without a cache nothing is to be removed, and the number is 0. Raises ValueError for what is no
    URL or tag, and RuntimeError outside a server.
    """
    purges = [
        *(("url", text) for text in texts("url", url)),
        *(("tag", text) for text in texts("tag", tag)),
        *([("all", "")] if everything else []),
    ]
    if url is None and tag is None and not everything:
        raise TypeError("purge() needs url, tag or everything=True")
    if _purgers is None:
        raise RuntimeError(
            "lockgate.cache.purge works in the processes of a server: in workers, in processes "
            "that they fork, and in a program with a running lockgate.Server. Elsewhere, ask the "
            "admin listener (POST /cache/purge, or lockgate ctl purge)"
        )
    return sum(purger.purge(purges) for purger in _purgers)


def texts(name: str, value: str | Iterable[str] | None) -> list[str]:
    if value is None:
        return []
    values = [value] if isinstance(value, str) else list(value)
    for text in values:
        if not isinstance(text, str):
            raise TypeError(f"{name} must be str, not {type(text).__name__}")
    return values
