workers = 2
threads = 2
bind = "127.0.0.1:8000"
logger_class = "gunicorn.glogging.Logger"
logconfig_dict = {"version": 1}
statsd_host = None
