"""gunicorn's logger that sends metrics: the server sends them itself (`statsd_host`)."""

from lockgate.gunicorn.glogging import Logger


class Statsd(Logger):
    """Logs; see the module."""
