"""Starts a child process, as applications do, and ends it on request."""

import subprocess

children = []


def app(environ, start_response):
    if environ["PATH_INFO"] == "/spawn":
        # close_fds=False shows what is inheritable at all.
        children.append(subprocess.Popen(["sleep", "60"], close_fds=False))
        body = str(children[-1].pid).encode()
    else:
        while children:
            child = children.pop()
            child.kill()
            child.wait()
        body = b"reaped"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
