import logging

workers = 1  #: workers = 1
errorlog = "-"  #: error_logfile = "-"
logconfig_dict = {  #: dictionary
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"level": "INFO", "handlers": ["console"]},
    "loggers": {"shop": {"level": logging.DEBUG}},
}
