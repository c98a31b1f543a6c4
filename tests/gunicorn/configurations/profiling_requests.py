"""Times requests with an attribute on the worker."""

import time

workers = 1  #: workers = 1
slow = 0.5  #: variable


def pre_request(worker, req):  #: hook
    worker.started = time.monotonic()


def post_request(worker, req):  #: hook
    elapsed = time.monotonic() - worker.started
    if elapsed > slow:
        worker.log.warning("%s took %.3f s", req.path, elapsed)
