"""django-eventstream in GRIP mode, as its README has it; GRIP_URL names the admin listener."""

import fcntl
import json
import os

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse, JsonResponse
from django.urls import include, path

DATABASE = os.environ["EVENTSTREAM_DATABASE"]

settings.configure(
    SECRET_KEY="only for tests, and long enough for HS256",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=[
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "django_eventstream",
    ],
    MIDDLEWARE=["django_grip.GripMiddleware", f"{__name__}.user_of_header"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": DATABASE,
            "OPTIONS": {
                "timeout": 20,
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA synchronous = OFF",
            },
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    GRIP_URL=os.environ["GRIP_URL"],
    EVENTSTREAM_STORAGE_CLASS="django_eventstream.storage.DjangoModelStorage",
    EVENTSTREAM_CHANNELMANAGER_CLASS=f"{__name__}.Manager",
    USE_TZ=True,
)
django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django_eventstream import channel_permission_changed, send_event  # noqa: E402
from django_eventstream.channelmanager import DefaultChannelManager  # noqa: E402
from django_eventstream.storage import DjangoModelStorage  # noqa: E402

with open(DATABASE + ".lock", "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    call_command("migrate", verbosity=0)
    for name in ("alice", "bob"):
        User.objects.get_or_create(username=name)


class Manager(DefaultChannelManager):
    def can_read_channel(self, user, channel):
        return channel != "secret" or user is None or user.is_active

    def is_channel_reliable(self, channel):
        return not channel.startswith("live")


def user_of_header(get_response):
    """Where a site has its session."""

    def middleware(request):
        if name := request.headers.get("X-User"):
            request.user = User.objects.get(username=name)
        return get_response(request)

    return middleware


def send(request):
    """Sends the events of a list, each as the arguments of `send_event`."""
    for event in json.loads(request.body):
        users = User.objects.filter(username__in=event.pop("skip_users", []))
        event["skip_user_ids"] = [str(user.pk) for user in users]
        send_event(**{"event_type": "message", "async_publish": False} | event)
    return HttpResponse(status=204)


def store(request):
    """Stores an event whose message is lost on its way to the server."""
    DjangoModelStorage().append_event(**json.loads(request.body))
    return HttpResponse(status=204)


def lock_out(request):
    user = User.objects.get(username=request.GET["user"])
    user.is_active = False
    user.save()
    channel_permission_changed(user, "secret")
    return HttpResponse(status=204)


def grip(request):
    return JsonResponse({"proxied": request.grip.proxied, "signed": request.grip.signed})


urlpatterns = [
    path("events/", include("django_eventstream.urls")),
    path("send", send),
    path("store", store),
    path("lock-out", lock_out),
    path("grip", grip),
]
app = WSGIHandler()
