"""Constants in capitals that are then used for the settings."""

BIND = "127.0.0.1:8123"  #: variable
TIMEOUT = 45  #: variable
LOGLEVEL = "error"  #: variable
WORKERS = 2  #: variable

bind = BIND  #: bind = ["127.0.0.1:8123"]
timeout = TIMEOUT  #: timeout = 45
loglevel = LOGLEVEL  #: log_level = "error"
workers = WORKERS  #: workers = 2
