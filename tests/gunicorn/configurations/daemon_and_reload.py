daemon = True  #: refused run it under systemd
reload = True  #: refused restart the server after a change
pidfile = "app.pid"  #: pid = "app.pid"
workers = 1  #: workers = 1
