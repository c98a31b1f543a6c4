import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

settings.configure(
    SECRET_KEY=os.environ.get("KEY", "k2J9-vP0qL7wXz4RmT8s"),
    ALLOWED_HOSTS=[],  # finds: django-no-host
    ROOT_URLCONF=__name__,
    CACHES={
        "other": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}
    },  # checks: django-system-check
)


def index(request):
    return HttpResponse(b"hello")


urlpatterns = [path("", index)]
app = get_wsgi_application()
