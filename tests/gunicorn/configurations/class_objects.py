"""A class of workers by its path, and None where it is the default."""

worker_class = "gunicorn.workers.gthread.ThreadWorker"  #: worker_class = "gthread"
threads = 2  #: threads = 2
workers = 1  #: workers = 1
user = None  #: user = ""
group = None  #: group = ""
tmp_upload_dir = None  #: default
daemon = False  #: default
raw_env = None  #: env = []
certfile = None  #: certfile = ""
keyfile = None  #: keyfile = ""
logconfig = None  #: *
chdir = None  #: chdir = ""
pidfile = None  #: pid = ""
