bind = "unix:run/bookshop.sock"  #: bind = ["unix:*run/bookshop.sock"]
workers = 3  #: workers = 3
umask = 0o007  #: umask = "0007"
pidfile = "run/bookshop.pid"  #: pid = "run/bookshop.pid"
accesslog = "logs/access.log"  #: access_logfile = "logs/access.log"
errorlog = "logs/error.log"  #: error_logfile = "logs/error.log"
loglevel = "warning"  #: log_level = "warning"
proc_name = "bookshop"  #: name = "bookshop"
