import logging
import os

os.chdir("/")  # finds: import-chdir
os.umask(0)  # finds: import-umask
logging.basicConfig(level=logging.DEBUG)  # finds: import-debug-log


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
