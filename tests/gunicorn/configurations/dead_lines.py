"""Names that look like settings and never had an effect."""

BIND = "0.0.0.0:9999"  #: misspelled bind
MAX_REQUESTS = 1000  #: misspelled max_requests
log_level = "debug"  #: misspelled loglevel
access_log = "-"  #: misspelled accesslog
worker = 4  #: misspelled workers
worker_connection = 500  #: misspelled worker_connections
preload = True  #: misspelled preload_app
keep_alive = 65  #: misspelled keepalive
gracefulTimeout = 60  #: misspelled graceful_timeout
threads = 2  #: threads = 2
max_keepalive_requests = 100  #: variable
ssl_session_cache = "shared"  #: variable
