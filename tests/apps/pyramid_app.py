"""A small Pyramid application: form, JSON, upload, streaming, session."""

import hashlib

from pyramid.config import Configurator
from pyramid.response import Response
from pyramid.session import SignedCookieSessionFactory


def index(request):
    return Response("hello")


def form(request):
    return dict(request.POST)


def json(request):
    return {"received": request.json_body}


def upload(request):
    sent = request.POST["file"]
    return {"name": sent.filename, "sha256": hashlib.sha256(sent.file.read()).hexdigest()}


def stream(request):
    lines = (b"line %d\n" % number for number in range(100))
    return Response(app_iter=lines, content_type="text/plain")


def count(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return Response(str(request.session["visits"]))


def error(request):
    raise ValueError("a fault in a view")


def make():
    with Configurator(session_factory=SignedCookieSessionFactory("only for tests")) as config:
        config.add_route("index", "/")
        config.add_view(index, route_name="index")
        for view in (form, json, upload):
            config.add_route(view.__name__, "/" + view.__name__, request_method="POST")
            config.add_view(view, route_name=view.__name__, renderer="json")
        for name, view in (("stream", stream), ("session", count), ("error", error)):
            config.add_route(name, "/" + name)
            config.add_view(view, route_name=name)
        return config.make_wsgi_app()


app = make()
