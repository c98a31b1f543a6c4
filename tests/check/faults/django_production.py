# arguments: --workers 2
import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

settings.configure(
    DEBUG=True,  # finds: django-debug
    SECRET_KEY="django-insecure-abcdefghijklmnop",  # finds: django-secret-key-weak
    ALLOWED_HOSTS=["*"],  # finds: django-any-host
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    SECURE_SSL_REDIRECT=True,
    SESSION_COOKIE_SECURE=False,  # finds: django-cookie
    SESSION_ENGINE="django.contrib.sessions.backends.cache",  # finds: django-sessions-per-process
    DATABASES={  # finds: django-pool-small
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "OPTIONS": {"pool": {"min_size": 2, "max_size": 4}},
        }
    },
)
django.setup()


def index(request):
    return HttpResponse(b"hello", headers={"X-Next": request.GET["next"]})  # finds: exception


urlpatterns = [path("", index), path("items/<int:number>/", index)]
app = get_wsgi_application()
