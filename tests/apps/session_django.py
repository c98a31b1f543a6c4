"""A Django application with a login, and Lockgate's sessions; SESSION_STORE names the store."""

import os

import django
from django.conf import settings
from django.contrib import messages
from django.core.handlers.wsgi import WSGIHandler
from django.http import JsonResponse
from django.urls import path

settings.configure(
    SECRET_KEY="only for tests, with at least 32 bytes",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.messages"],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    MESSAGE_STORAGE="django.contrib.messages.storage.session.SessionStorage",
    SESSION_ENGINE="lockgate.sessions.django",
    SESSION_COOKIE_NAME="session",
    LOCKGATE_SESSION_STORE=os.environ.get("SESSION_STORE"),
    USE_TZ=True,
)
django.setup()


def visit(request):
    request.session["pages"] = [*request.session.get("pages", []), "visit"]
    return JsonResponse(len(request.session["pages"]), safe=False)


def login(request):
    request.session.cycle_key()
    request.session["user"] = "ann"
    messages.info(request, "welcome")
    return JsonResponse("ann", safe=False)


def user(request):
    texts = [message.message for message in messages.get_messages(request)]
    pages = len(request.session.get("pages", []))
    return JsonResponse([request.session.get("user"), pages, texts], safe=False)


def logout(request):
    request.session.flush()
    return JsonResponse(None, safe=False)


def index(request):
    return JsonResponse("hello", safe=False)


urlpatterns = [
    path("visit", visit),
    path("login", login),
    path("user", user),
    path("logout", logout),
    path("", index),
]
app = WSGIHandler()
