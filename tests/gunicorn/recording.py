"""A configuration that records every call of a hook: its order, its process and its arguments.

Each line of the file RECORD is one call. The server under test is gunicorn or Lockgate.
"""

import json
import os
import threading
import time

RECORD = os.environ["RECORD"]
OPTIONS = json.loads(os.environ.get("OPTIONS", "{}"))


def _record(hook, **facts):
    entry = {
        "hook": hook,
        "pid": os.getpid(),
        "thread": threading.current_thread() is threading.main_thread(),
        **facts,
    }
    with open(RECORD, "a") as file:
        file.write(json.dumps(entry) + "\n")


def _server(server):
    return {
        "pid": server.pid,
        "num_workers": server.num_workers,
        "address": server.address,
        "workers": sorted(server.WORKERS),
        "is_same_cfg": server.cfg.workers == server.num_workers,
        "can_log": callable(server.log.info),
    }


def _worker(worker):
    return {
        "pid": worker.pid,
        "age": worker.age,
        "nr": worker.nr,
        "alive": worker.alive,
        "ppid": worker.ppid,
        "has_app": getattr(worker, "wsgi", None) is not None,
        "name": str(worker),
    }


def _req(req):
    headers = dict(req.headers)
    return {
        "method": req.method,
        "path": req.path,
        "uri": req.uri,
        "query": req.query,
        "version": list(req.version),
        "host": req.remote_addr[0],
        "agent": headers.get("USER-AGENT"),
        "type": headers.get("CONTENT-TYPE"),
    }


def _resp(resp):
    if resp is None:
        return None
    return {
        "status": resp.status,
        "headers": [list(header) for header in resp.headers],
        "sent": resp.sent,
        "response_length": resp.response_length,
    }


def _fail(hook):
    if OPTIONS.get("fails") == hook:
        raise ValueError(f"{hook} has failed")


def on_starting(server):
    _record("on_starting", server=_server(server))


def on_reload(server):
    _record("on_reload", server=_server(server))


def when_ready(server):
    _record("when_ready", server=_server(server))


def nworkers_changed(server, new_value, old_value):
    _record("nworkers_changed", new=new_value, old=old_value)


def pre_fork(server, worker):
    _record("pre_fork", server=_server(server), worker=_worker(worker))


def post_fork(server, worker):
    sockets = [list(sock.getsockname()) for sock in worker.sockets]
    _record("post_fork", server=_server(server), worker=_worker(worker), sockets=sockets)
    _fail("post_fork")


def post_worker_init(worker):
    _record("post_worker_init", worker=_worker(worker))
    _fail("post_worker_init")


def worker_int(worker):
    _record("worker_int", worker=_worker(worker))


def worker_abort(worker):
    _record("worker_abort", worker=_worker(worker))


def pre_request(worker, req):
    worker.begun = time.monotonic()
    req.headers.append(("X-BY-HOOK", "yes"))
    _record("pre_request", worker=_worker(worker), req=_req(req))
    if req.path == "/hook-fails":
        raise ValueError("pre_request has failed")


def post_request(worker, req, environ, resp):
    _record(
        "post_request",
        worker=_worker(worker),
        req=_req(req),
        environ=sorted(key for key in environ if key.startswith("HTTP_")),
        resp=_resp(resp),
        has_attribute=0 <= time.monotonic() - worker.begun < 60,
    )
    if req.path == "/post-fails":
        raise ValueError("post_request has failed")
    if req.path == "/retire":
        worker.alive = False


if "post_request_takes" in OPTIONS:
    if OPTIONS["post_request_takes"] == 2:

        def post_request(worker, req):
            _record("post_request", given=2, path=req.path)

    elif OPTIONS["post_request_takes"] == 3:

        def post_request(worker, req, environ):
            _record("post_request", given=3, path=environ["PATH_INFO"])

    else:

        def post_request(worker, req, environ, resp):
            _record("post_request", given=4, status=resp.status)


def child_exit(server, worker):
    _record("child_exit", server=_server(server), worker=_worker(worker))


def worker_exit(server, worker):
    _record("worker_exit", server=_server(server), worker=_worker(worker))


def on_exit(server):
    _record("on_exit", server=_server(server))
