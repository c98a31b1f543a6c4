def app(environ, start_response):
    home = f"https://{environ['HTTP_HOST']}/"  # finds: environ-key
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [home.encode()]
