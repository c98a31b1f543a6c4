"""gunicorn's worker class of this name, for imports."""

from lockgate.gunicorn.workers.base import Worker


class GeventWorker(Worker):
    """See `workers`."""


class GeventPyWSGIWorker(GeventWorker):
    """See `workers`."""
