"""Returns its environment on every path."""

from protocol import show_environ as app  # noqa: F401
