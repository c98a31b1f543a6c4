bind = "127.0.0.1:8003"  #: bind = ["127.0.0.1:8003"]
workers = 2  #: workers = 2
worker_class = "uvicorn.workers.UvicornWorker"  #: refused run an ASGI application with uvicorn
keepalive = 5  #: keep_alive = 5
