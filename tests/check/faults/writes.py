def app(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write("hello")  # finds: write write-type
    return []
