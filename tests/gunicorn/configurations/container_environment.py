"""Everything from the environment, as images do that are configured from outside."""

import os

port = os.environ.get("APP_PORT", "9000")  #: variable
host = os.environ.get("APP_HOST", "127.0.0.1")  #: variable

bind = f"{host}:{port}"  #: bind = ["127.0.0.1:9000"]
workers = os.environ.get("APP_WORKERS", "2")  #: workers = 2
threads = os.environ.get("APP_THREADS", "4")  #: threads = 4
timeout = os.getenv("APP_TIMEOUT", "120")  #: timeout = 120
graceful_timeout = os.getenv("APP_GRACE", "90")  #: graceful_timeout = 90
loglevel = os.getenv("APP_LOG_LEVEL", "INFO")  #: log_level = "info"
accesslog = os.getenv("APP_ACCESS_LOG") or None  #: access_logfile = "none"
errorlog = "-"  #: error_logfile = "-"
worker_tmp_dir = "/dev/shm"  #: ignored
