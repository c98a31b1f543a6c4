"""For all three servers; each unit names its socket and its application."""

worker_class = "gthread"
workers = 2
threads = 16
forwarded_allow_ips = "*"
forwarder_headers = "SCRIPT_NAME,REMOTE_USER"
accesslog = "-"
