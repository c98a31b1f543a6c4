"""Publishes what a test asks for: arguments of `lockgate.publish`, at the import too."""

import ast
import os
import threading
import time

import lockgate

try:
    lockgate.publish("at-import", "hello")
    AT_IMPORT = "published"
except Exception as error:
    AT_IMPORT = repr(error)


class Exported:
    """As a format of gripcontrol: a name, and what it has."""

    def __init__(self, name, exported):
        self._name, self._exported = name, exported

    def name(self):
        return self._name

    def export(self):
        return self._exported


class Item:
    """As an item of pubcontrol."""

    def __init__(self, *formats, **keys):
        self._formats, self._keys = formats, keys

    def export(self):
        return self._keys | {format.name(): format.export() for format in self._formats}


STREAM = Exported("http-stream", {"content": "hello\n"})
WEBSOCKET = Exported("ws-message", {"content-bin": "aGVsbG8="})
OBJECTS = {
    "item": Item(STREAM, WEBSOCKET, id="2", meta={"sender": "me"}),
    "format": STREAM,
    "list of formats": [STREAM, WEBSOCKET],
}


def app(environ, start_response):
    body = PATHS[environ["PATH_INFO"]](environ["wsgi.input"].read().decode())
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body.encode()]


def publish(text):
    """`text` is a tuple of positional arguments and a dictionary of keywords."""
    arguments, keywords = ast.literal_eval(text)
    try:
        return repr(lockgate.publish(*arguments, **keywords))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def publish_object(name):
    return repr(lockgate.publish("news", formats=OBJECTS[name]))


def publish_endless(text):
    endless = {}
    endless["http-stream"] = {"content": endless}
    return publish_formats(endless)


def publish_generator(text):
    return publish_formats({"http-stream": {"content": iter(())}})


def publish_formats(formats):
    try:
        return repr(lockgate.publish("news", formats=formats))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def publish_in_threads(text):
    """Threads that publish at the same time, and one that shows that the GIL is free meanwhile."""
    count = int(text)
    threads = [
        threading.Thread(target=lambda: [lockgate.publish("t", "x" * 100) for _ in range(count)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return "done"


def publish_in_children(text):
    """Children of the application, of which one is killed while it publishes."""
    pids = []
    for number in range(int(text)):
        pid = os.fork()
        if pid == 0:
            try:
                while True:
                    lockgate.publish("c", "from a child")
                    if number:
                        break
            finally:
                os._exit(0)
        pids.append(pid)
    time.sleep(0.1)
    os.kill(pids[0], 9)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    lockgate.publish("c", "afterwards")
    return repr(codes)


PATHS = {
    "/": publish,
    "/object": publish_object,
    "/endless": publish_endless,
    "/generator": publish_generator,
    "/threads": publish_in_threads,
    "/children": publish_in_children,
    "/import": lambda text: AT_IMPORT,
}
