"""A module whose import fails, in a helper two calls deep."""


def configure():
    raise RuntimeError("the database address is missing")


configure()
