def app(environ, start_response):
    start_response("302 Found", [("Content-Type", "text/plain"), ("URI", "/login")])
    return [b"log in"]  # finds: location-missing
