"""Helper functions, constants and a class beside the settings."""

import math
from os import environ  #: variable


class Limits:  #: variable
    cores = 4
    most = 8


def number(name, default):  #: variable
    try:
        return int(environ[name])
    except (KeyError, ValueError):
        return default


cores = number("CORES", Limits.cores)  #: variable
workers_per_core = 0.5  #: variable
use_bind = ":".join(["127.0.0.1", str(number("HTTP_PORT", 8080))])  #: variable
workers = min(math.ceil(cores * workers_per_core), Limits.most)  #: workers = 2
bind = use_bind  #: bind = ["127.0.0.1:8080"]
keepalive = number("KEEPALIVE", 120)  #: keep_alive = 120
_private = object()
