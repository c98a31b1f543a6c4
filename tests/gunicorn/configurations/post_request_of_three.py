worker_class = "sync"  #: worker_class = "sync"


def post_request(worker, req, environ):  #: hook
    worker.log.info("%s", environ.get("PATH_INFO"))
