"""A module that imports something that is not installed."""

import a_module_that_is_not_installed  # noqa: F401


def app(environ, start_response):
    raise NotImplementedError
