"""Every hook, each of which logs a line."""


def on_starting(server):  #: hook
    server.log.info("on_starting")


def on_reload(server):  #: hook
    server.log.info("on_reload")


def when_ready(server):  #: hook
    server.log.info("when_ready: %s workers", server.cfg.workers)


def pre_fork(server, worker):  #: hook
    server.log.debug("pre_fork")


def post_fork(server, worker):  #: hook
    server.log.info("post_fork %s", worker.pid)


def post_worker_init(worker):  #: hook
    worker.log.info("post_worker_init %s", worker.pid)


def worker_int(worker):  #: hook
    worker.log.info("worker_int")


def worker_abort(worker):  #: hook
    worker.log.info("worker_abort")


def pre_exec(server):  #: hook
    server.log.info("pre_exec")


def pre_request(worker, req):  #: hook
    worker.log.debug("%s %s", req.method, req.path)


def post_request(worker, req, environ, resp):  #: hook
    worker.log.debug("%s", resp.status)


def child_exit(server, worker):  #: hook
    server.log.info("child_exit %s", worker.pid)


def worker_exit(server, worker):  #: hook
    server.log.info("worker_exit %s", worker.pid)


def nworkers_changed(server, new_value, old_value):  #: hook
    server.log.info("nworkers_changed %s %s", new_value, old_value)


def on_exit(server):  #: hook
    server.log.info("on_exit")
