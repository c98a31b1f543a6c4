"""An application that has replaced Python's threads by coroutines, as PATCHED_BY says."""

import os
import threading

match os.environ.get("PATCHED_BY"):
    case "gevent":
        from gevent import monkey

        monkey.patch_all()
    case "gevent-sockets":
        from gevent import monkey

        monkey.patch_all(thread=False)
    case "eventlet":
        import eventlet

        eventlet.monkey_patch()


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [type(threading.Lock()).__module__.encode()]
