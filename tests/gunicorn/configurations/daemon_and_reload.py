daemon = True  #: refused run it under systemd
reload = True  #: reload = true
pidfile = "app.pid"  #: pid = "app.pid"
workers = 1  #: workers = 1
