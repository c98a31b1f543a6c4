def app(environ, start_response):
    headers = [("Content-Type", "text/plain"), ("URI", "/login")]
    start_response("302 Found", headers)  # finds: location-missing
    return [b"log in"]
