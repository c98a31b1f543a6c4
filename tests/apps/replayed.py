"""Returns the request that it was called with, for wire samples that state what must arrive."""

import json


def app(environ, start_response):
    seen = {
        "method": environ["REQUEST_METHOD"],
        "target": environ["RAW_URI"],
        "body": environ["wsgi.input"].read().decode("latin-1"),
        "underscored": [key for key in environ if key.startswith("HTTP_X_UNDERSCORED")],
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(seen).encode()]
