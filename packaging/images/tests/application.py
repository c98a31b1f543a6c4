"""Takes the place of app.py of contrib/docker: what a container's process can see and do."""

import os
import subprocess
import sys
import time


def app(environ, start_response):
    answer = PATHS[environ["PATH_INFO"]](environ)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [answer.encode()]


def status(environ):
    """Ids, capabilities and privileges, as the kernel says them."""
    with open("/proc/self/status", encoding="ascii") as file:
        return file.read()


def write(environ):
    """Which directories can be written to."""
    found = []
    for directory in ("/", "/app", "/etc", "/usr", "/venv", "/tmp"):
        try:
            with open(os.path.join(directory, "written"), "w", encoding="ascii"):
                found.append(directory)
        except OSError:
            pass
    return " ".join(found)


def programs(environ):
    """Which programs an intruder would find."""
    names = ("sh", "bash", "pip", "apt-get", "dpkg", "curl", "python3")
    directories = ("/bin", "/usr/bin", "/usr/local/bin", "/venv/bin")
    return " ".join(
        name
        for name in names
        if any(os.access(os.path.join(place, name), os.X_OK) for place in directories)
    )


def length(environ):
    return str(len(environ["wsgi.input"].read()))


def slow(environ):
    print("the slow request has begun", flush=True)
    time.sleep(3)
    return "whole"


def endless(environ):
    print("the endless request has begun", flush=True)
    time.sleep(600)
    return "never"


def orphan(environ):
    """Leaves a process whose parent ends before it."""
    child = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'pass'])"
    subprocess.run([sys.executable, "-c", child], check=True)
    return "left"


def eat(environ):
    eaten = bytearray(1 << 30)
    for offset in range(0, len(eaten), 4096):
        eaten[offset] = 1
    return "full"


PATHS = {
    f"/{function.__name__}": function
    for function in (status, write, programs, length, slow, endless, orphan, eat)
}
