"""A module whose import fails, one call deep."""


def configure():
    raise RuntimeError("the database address is missing")


configure()
