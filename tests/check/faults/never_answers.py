import queue

JOBS = queue.Queue()


def app(environ, start_response):
    job = JOBS.get()  # finds: late
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [job]
