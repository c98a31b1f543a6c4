from pathlib import Path  #: variable

workers = "four"  #: refused must be a whole number
timeout = None  #: refused must be a time
pidfile = Path("app.pid")  #: refused must be text
header_map = "dangerous"  #: refused would let any client pose as a proxy
threads = 2  #: threads = 2


def post_fork(worker):  #: refused must be a function with the parameters (server, worker)
    worker.log.info("started")


def ssl_context(config, default_ssl_context_factory):  #: refused use certificates
    return default_ssl_context_factory()
