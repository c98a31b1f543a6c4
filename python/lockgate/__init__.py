"""Lockgate: a production WSGI server with a Rust core.

Run it with ``lockgate module:attribute`` or ``python -m lockgate module:attribute``;
``lockgate --help`` lists the settings.
"""

from lockgate._lockgate import __version__

__all__ = ["__version__"]
