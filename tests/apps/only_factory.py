"""A module that has nothing but a factory."""

from hello import make


def create_app():
    return make("created")
