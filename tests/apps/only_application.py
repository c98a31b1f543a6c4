"""A module whose application has the name that PEP 3333 uses."""

from hello import app as application  # noqa: F401
