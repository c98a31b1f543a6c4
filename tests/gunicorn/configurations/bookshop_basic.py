"""The shape of most tutorials: processes by the number of CPUs, everything on one screen."""

import multiprocessing

bind = "0.0.0.0:8000"  #: bind = ["0.0.0.0:8000"]
workers = multiprocessing.cpu_count() * 2 + 1  #: workers = *
worker_class = "sync"  #: worker_class = "sync"
worker_connections = 1000  #: worker_connections = 1000
timeout = 30  #: timeout = 30
keepalive = 2  #: keep_alive = 2
