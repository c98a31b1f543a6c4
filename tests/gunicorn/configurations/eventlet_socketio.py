worker_class = "eventlet"  #: refused requests run in threads
workers = 1  #: workers = 1
bind = "127.0.0.1:8004"  #: bind = ["127.0.0.1:8004"]
