"""A configuration with a class of loggers, or a dictionary for Python's logging."""

import os

from gunicorn import glogging

CHOICE = os.environ["CHOICE"]

if CHOICE == "class":

    class logger_class(glogging.Logger):
        """As configurations write it: the class has the name of the setting."""

        def access(self, resp, req, environ, request_time):
            self.access_log.info("%s %s %s", req.method, req.path, resp.status)

        def setup(self, cfg):
            super().setup(cfg)
            self.info("the logger of the configuration, for %s", cfg.proc_name)

else:
    logconfig_dict = {
        "formatters": {"short": {"format": "short %(levelname)s %(message)s"}},
        "handlers": {
            "console": {
                "class": "logging.StreamHandler",
                "formatter": "short",
                "stream": "ext://sys.stdout",
            }
        },
        "loggers": {
            "gunicorn.error": {"level": "INFO", "handlers": ["console"], "propagate": False},
            "gunicorn.access": {"level": "INFO", "handlers": ["console"], "propagate": False},
        },
    }


def post_worker_init(worker):
    worker.log.warning("from a hook")
