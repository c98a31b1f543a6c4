"""An application of uWSGI's: it runs the expression in a request's body with the module `uwsgi`."""

import threading
import time

import uwsgi
import uwsgidecorators

FORKED = []


@uwsgidecorators.postfork
def connect():
    FORKED.append(uwsgi.worker_id())


@uwsgidecorators.postfork(2)
def connect_in_the_second():
    FORKED.append("second")


def app(environ, start_response):
    text = environ["wsgi.input"].read().decode()
    names = {"uwsgi": uwsgi, "uwsgidecorators": uwsgidecorators, "FORKED": FORKED}
    names.update(threading=threading, time=time)
    try:
        result = repr(eval(text, names))
    except Exception as error:
        result = f"{type(error).__name__}: {error}"
    body = result.encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
