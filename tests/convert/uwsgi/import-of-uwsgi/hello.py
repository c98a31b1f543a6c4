"""Says which worker it is."""

import uwsgi


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    greeting = uwsgi.opt["greeting"]
    return [greeting, b" from worker %d" % uwsgi.worker_id()]
