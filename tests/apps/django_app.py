"""A small Django application in one file: form, JSON, upload, download, session, redirect."""

import hashlib
import json
import time

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse, HttpResponseRedirect, JsonResponse, StreamingHttpResponse
from django.urls import path, reverse
from django.views.decorators.http import etag

settings.configure(
    SECRET_KEY="only for tests",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    USE_TZ=True,
)
django.setup()


def index(request):
    return HttpResponse("hello")


def form(request):
    return JsonResponse(request.POST.dict())


def receive_json(request):
    return JsonResponse({"received": json.loads(request.body)})


def upload(request):
    sent = request.FILES["file"]
    digest = hashlib.sha256(sent.read()).hexdigest()
    return JsonResponse({"name": sent.name, "sha256": digest})


def stream(request):
    return StreamingHttpResponse(f"line {number}\n" for number in range(100))


def count(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(str(request.session["visits"]))


def where(request):
    shown = {"link": reverse("where"), "script_name": request.META["SCRIPT_NAME"]}
    return JsonResponse({**shown, "path": request.path_info})


def error(request):
    raise ValueError("a fault in a view")


def download(request):
    return HttpResponse(bytes(range(256)) * 4096 * int(request.GET["megabytes"]))


def slow(request):
    time.sleep(float(request.GET["seconds"]))
    return HttpResponse(request.GET["number"])


def empty(request):
    return HttpResponse(status=204)


@etag(lambda request: '"known"')
def known(request):
    return HttpResponse("known")


def moved(request):
    return HttpResponseRedirect("/where")


def cookies(request):
    return JsonResponse(request.COOKIES)


urlpatterns = [
    path("", index),
    path("form", form),
    path("json", receive_json),
    path("upload", upload),
    path("stream", stream),
    path("session", count),
    path("where", where, name="where"),
    path("error", error),
    path("download", download),
    path("slow", slow),
    path("empty", empty),
    path("known", known),
    path("moved", moved),
    path("cookies", cookies),
]
app = WSGIHandler()
