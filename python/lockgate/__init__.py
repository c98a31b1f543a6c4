"""Lockgate: a production WSGI server with a Rust core.

Run it with ``lockgate module:attribute`` or ``python -m lockgate module:attribute``;
``lockgate --help`` lists the settings. ``Server`` and ``serve`` are for Python programs.
"""

from typing import TYPE_CHECKING, Any

from lockgate import cache
from lockgate._lockgate import RequestTimeout, __version__
from lockgate.publishing import publish

if TYPE_CHECKING:
    from lockgate.embedding import Server, serve

__all__ = ["RequestTimeout", "Server", "__version__", "cache", "publish", "serve"]


def __getattr__(name: str) -> Any:
    # A server that is started from the command line does not need the module.
    if name in ("Server", "serve"):
        from lockgate import embedding

        return getattr(embedding, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
