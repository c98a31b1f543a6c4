import subprocess

HELPER = subprocess.Popen(["sleep", "60"])  # finds: import-child


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
