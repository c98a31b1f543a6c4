"""A small Falcon application: form, JSON, upload, streaming, cookie."""

import hashlib

import falcon


class Resource:
    """One handler for each path, to keep the example in one place."""

    def on_get(self, request, response):
        response.text = "hello"

    def on_post_form(self, request, response):
        response.media = request.get_media()

    def on_post_json(self, request, response):
        response.media = {"received": request.get_media()}

    def on_post_upload(self, request, response):
        for part in request.get_media():
            digest = hashlib.sha256(part.stream.read()).hexdigest()
            response.media = {"name": part.filename, "sha256": digest}

    def on_get_stream(self, request, response):
        response.content_type = "text/plain"
        response.stream = (b"line %d\n" % number for number in range(100))

    def on_get_session(self, request, response):
        visits = int((request.get_cookie_values("visits") or ["0"])[0]) + 1
        response.set_cookie("visits", str(visits), secure=False)
        response.text = str(visits)

    def on_get_error(self, request, response):
        raise ValueError("a fault in a view")


app = falcon.App()
resource = Resource()
app.add_route("/", resource)
for name in ("form", "json", "upload", "stream", "session", "error"):
    app.add_route(f"/{name}", resource, suffix=name)
