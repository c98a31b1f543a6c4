import os

worker_class = "gevent"  #: worker_class = "gevent"
worker_connections = int(os.environ.get("POOL", 2000))  #: worker_connections = 2000
workers = 2  #: workers = 2
backlog = 1024  #: backlog = 1024
timeout = 0  #: timeout = 0
accesslog = "-"  #: access_logfile = "-"
access_log_format = '%(h)s %(t)s "%(r)s" %(s)s %(D)s'  #: access_logformat = *
