from pyramid.config import Configurator
from pyramid.response import Response


def hello(request):
    return Response("hello")


with Configurator(settings={"pyramid.reload_templates": True}) as config:  # finds: pyramid-debug
    config.add_route("hello", "/")
    config.add_view(hello, route_name="hello")
    app = config.make_wsgi_app()
