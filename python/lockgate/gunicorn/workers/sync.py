"""gunicorn's worker class of this name, for imports."""

from lockgate.gunicorn.workers.base import Worker


class SyncWorker(Worker):
    """See `workers`."""
