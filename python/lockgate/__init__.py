"""Lockgate: a production WSGI server with a Rust core.

Run it with ``lockgate module:attribute`` or ``python -m lockgate module:attribute``;
``lockgate --help`` lists the settings.
"""

from lockgate._lockgate import RequestTimeout, __version__

__all__ = ["RequestTimeout", "__version__"]
