"""What a large Django site looks like to a memory: the framework, and about 150 MB of objects that
its import makes (here a catalogue). As in a real one, requests read a small part of it again and
again (`/`); `/any` reads everywhere, which is the worst that can be done to shared memory."""

import random

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="only for measuring",
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    LOGGING_CONFIG=None,
)

ARTICLES = [
    {
        "id": number,
        "name": f"article {number}",
        "price": (number % 997) + 0.5,
        "tags": [f"tag {number % 31}", f"tag {number % 67}"],
        "stock": {"north": number % 11, "south": number % 7},
    }
    for number in range(130_000)
]


POPULAR = ARTICLES[:3_000]


def listing(articles):
    chosen = random.sample(articles, 200)
    return JsonResponse({"articles": chosen[:20], "total": sum(one["price"] for one in chosen)})


urlpatterns = [
    path("", lambda request: listing(POPULAR)),
    path("any", lambda request: listing(ARTICLES)),
]
application = get_wsgi_application()
