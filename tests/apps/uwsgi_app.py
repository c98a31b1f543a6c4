"""An application of uWSGI's: it runs the expression in a request's body with the module `uwsgi`."""

import threading
import time
import weakref

import uwsgi
import uwsgidecorators

FORKED = []


@uwsgidecorators.postfork
def connect():
    FORKED.append(uwsgi.worker_id())


@uwsgidecorators.postfork(2)
def connect_in_the_second():
    FORKED.append("second")


class Mark:
    """Something in environ."""


def watch(environ):
    """Logs whether the server forgets environ within two seconds."""
    mark = environ["mark"] = Mark()
    seen = weakref.ref(mark)

    def wait():
        for _ in range(100):
            time.sleep(0.02)
            if seen() is None:
                break
        uwsgi.log(f"forgotten: {seen() is None}")

    threading.Thread(target=wait).start()


def app(environ, start_response):
    text = environ["wsgi.input"].read().decode()
    names = {"uwsgi": uwsgi, "uwsgidecorators": uwsgidecorators, "FORKED": FORKED}
    names.update(threading=threading, time=time, watch=watch)
    try:
        result = repr(eval(text, names))
    except Exception as error:
        result = f"{type(error).__name__}: {error}"
    body = result.encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
