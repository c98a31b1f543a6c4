"""A site behind a load balancer."""

import os

bind = ["0.0.0.0:8000", "unix:site.sock"]
workers = 3
worker_class = "gthread"
threads = 4
worker_tmp_dir = "/dev/shm"
wsgi_app = "hello:application"
timeout = 60
graceful_timeout = 25
keepalive = 5
max_requests = 1000
max_requests_jitter = 50
accesslog = "-"
errorlog = "-"
loglevel = os.environ.get("LOG_LEVEL", "INFO")
forwarded_allow_ips = "*"
secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}
raw_env = ["STAGE=production", "NUMBERS=1,2"]
umask = 0o027
preload_app = True
reload = False
proc_name = "site"
limit_request_line = 8190
worker_conections = 5000
check_config = False


def on_starting(server):
    server.log.info("starts")


def post_fork(server, worker):
    worker.log.info("forked")


def helper():
    return os.getpid()
