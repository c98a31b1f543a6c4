import logging

from gunicorn.glogging import Logger  #: variable


class NoHealthChecks(logging.Filter):  #: variable
    def filter(self, record):
        return "/health" not in record.getMessage()


class ShopLogger(Logger):  #: variable
    def setup(self, cfg):
        super().setup(cfg)
        self.access_log.addFilter(NoHealthChecks())


logger_class = ShopLogger  #: logger_class = *
accesslog = "-"  #: access_logfile = "-"
workers = 1  #: workers = 1
