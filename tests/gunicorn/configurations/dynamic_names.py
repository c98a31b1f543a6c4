"""Settings that a dictionary and a loop bind: their lines are not known."""

settings = {"workers": 2, "threads": 3, "backlog": 511}  #: variable
globals().update(settings)
timeout, graceful_timeout = 20, 25  #: timeout = 20 | graceful_timeout = 25
bind: str = "127.0.0.1:8020"  #: bind = ["127.0.0.1:8020"]
keepalive = 1  #: repeated
keepalive = 4  #: keep_alive = 4
