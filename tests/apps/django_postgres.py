"""Django on PostgreSQL with persistent connections: one for each thread that has asked it."""

import os
import time

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import JsonResponse
from django.urls import path

settings.configure(
    SECRET_KEY="tests",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": os.environ["POSTGRES_DIRECTORY"],
            "PORT": "5432",
            "USER": "application",
            "NAME": "postgres",
            "CONN_MAX_AGE": 60,
        }
    },
)
django.setup()


def slow(request):
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid(), pg_sleep(0.05)")
        (pid, _) = cursor.fetchone()
    time.sleep(0.05)
    return JsonResponse({"backend": pid})


urlpatterns = [path("slow", slow)]
app = get_wsgi_application()
