"""A small Django site: a view that sorts articles and answers with JSON, behind middleware."""

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

ARTICLES = [{"id": number, "price": (number * 7919) % 997 + 0.5} for number in range(500)]


def listing(request):
    chosen = sorted(ARTICLES, key=price)[:20]
    return JsonResponse({"articles": chosen, "total": total(chosen)})


def price(article):
    return article["price"]


def total(articles):
    return sum(article["price"] for article in articles)


urlpatterns = [path("", listing)]
application = get_wsgi_application()
