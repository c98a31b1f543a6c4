import sqlite3

DATABASE = sqlite3.connect(":memory:")  # finds: import-sqlite


def app(environ, start_response):
    [(version,)] = DATABASE.execute("SELECT sqlite_version()")  # finds: thread-bound
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [version.encode()]
