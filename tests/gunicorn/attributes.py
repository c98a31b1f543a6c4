"""A configuration whose hooks keep the beginning of a request on the worker."""


def pre_request(worker, req):
    worker.target = req.uri


def post_request(worker, req):
    whose = "own" if worker.target == req.uri else "foreign"
    worker.log.info("%s attribute", whose)


def worker_exit(server, worker):
    worker.log.info("%s requests", worker.nr)
