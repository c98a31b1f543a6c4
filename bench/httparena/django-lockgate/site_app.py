"""The endpoints of HttpArena's profiles as a Django site in one module."""

import json
import os
import time
from pathlib import Path
from urllib.parse import urlsplit

import django
from django.conf import settings
from django.db import DatabaseError
from django.http import Http404, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.http import require_GET, require_POST

import uwsgi

DATASET = json.loads(Path("/data/dataset.json").read_text())
MOST_ITEMS = 50
# PUT removes an entry; without one a client may see a row this old.
FRESH_SECONDS = 0.2


def databases() -> dict:
    url = urlsplit(os.environ.get("DATABASE_URL", ""))
    if not url.hostname:
        return {}
    limit = int(os.environ.get("DATABASE_MAX_CONN", "256"))
    return {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": url.hostname,
            "PORT": url.port or 5432,
            "NAME": url.path.removeprefix("/"),
            "USER": url.username,
            "PASSWORD": url.password,
            # This worker's share of the connections that the database admits.
            "OPTIONS": {
                "pool": {"min_size": 1, "max_size": max(1, limit * 9 // 10 // uwsgi.numproc)}
            },
        }
    }


settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES=databases(),
    INSTALLED_APPS=[],
    MIDDLEWARE=[],
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.urandom(32).hex(),
    USE_I18N=False,
    USE_TZ=True,
)
django.setup()

from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import models  # noqa: E402


class Item(models.Model):
    id = models.IntegerField(primary_key=True)
    name = models.TextField()
    category = models.TextField()
    price = models.IntegerField()
    quantity = models.IntegerField()
    active = models.BooleanField(default=True)
    tags = models.JSONField(default=list)
    rating_score = models.IntegerField(default=0)
    rating_count = models.IntegerField(default=0)

    class Meta:
        app_label = "arena"
        db_table = "items"
        managed = False

    def as_dict(self):
        names = ("id", "name", "category", "price", "quantity", "active", "tags")
        rating = {"score": self.rating_score, "count": self.rating_count}
        return {name: getattr(self, name) for name in names} | {"rating": rating}


def number(request, name, default):
    try:
        return int(request.GET.get(name, default))
    except ValueError:
        return default


def text(body, **more):
    return HttpResponse(body, content_type="text/plain", **more)


@require_GET
def pipeline(request):
    return text("ok")


def baseline(request):
    total = number(request, "a", 0) + number(request, "b", 0)
    if request.method == "POST":
        total += int(request.body or 0)
    return text(str(total))


@require_GET
def document(request, count):
    factor = number(request, "m", 1)
    items = [
        item | {"total": item["price"] * item["quantity"] * factor} for item in DATASET[:count]
    ]
    return JsonResponse({"items": items, "count": len(items)})


@require_POST
def upload(request):
    size = 0
    while piece := request.read(256 * 1024):
        size += len(piece)
    return text(str(size))


@require_GET
def items_by_price(request):
    limit = min(max(number(request, "limit", 50), 1), MOST_ITEMS)
    span = (number(request, "min", 10), number(request, "max", 50))
    items = []
    if settings.DATABASES:
        try:
            items = [item.as_dict() for item in Item.objects.filter(price__range=span)[:limit]]
        except DatabaseError:
            items = []
    return JsonResponse({"items": items, "count": len(items)})


def all_items(request):
    if request.method == "POST":
        given = json.loads(request.body)
        values = {name: given[name] for name in ("name", "category", "price", "quantity")}
        item, _ = Item.objects.update_or_create(id=given["id"], defaults=values)
        forget(item.id)
        return JsonResponse(item.as_dict(), status=201)
    page = max(number(request, "page", 1), 1)
    limit = min(max(number(request, "limit", 10), 1), MOST_ITEMS)
    wanted = Item.objects.filter(category=request.GET.get("category", "electronics"))
    first = (page - 1) * limit
    items = [item.as_dict() for item in wanted.order_by("id")[first : first + limit]]
    return JsonResponse({"items": items, "total": len(items), "page": page, "limit": limit})


def one_item(request, key):
    if request.method == "PUT":
        given = json.loads(request.body)
        values = {name: given[name] for name in ("name", "price", "quantity")}
        if not Item.objects.filter(id=key).update(**values):
            raise Http404
        forget(key)
        return JsonResponse({"id": key} | values)
    if body := cached(key):
        return HttpResponse(body, content_type="application/json", headers={"X-Cache": "HIT"})
    item = Item.objects.filter(id=key).first()
    if item is None:
        raise Http404
    response = JsonResponse(item.as_dict(), headers={"X-Cache": "MISS"})
    keep(key, response.content)
    return response


# The cache is memory that all workers share. It counts whole seconds, so an entry has its own time.


def cached(key):
    entry = uwsgi.cache_get(str(key), "items")
    if entry is None:
        return None
    until, _, body = entry.partition(b" ")
    return body if time.monotonic() < float(until) else None


def keep(key, body):
    until = time.monotonic() + FRESH_SECONDS
    uwsgi.cache_update(str(key), b"%.6f %s" % (until, body), 1, "items")


def forget(key):
    uwsgi.cache_del(str(key), "items")


urlpatterns = [
    path("pipeline", pipeline),
    path("baseline11", baseline),
    path("baseline2", baseline),
    path("json/<int:count>", document),
    path("upload", upload),
    path("async-db", items_by_price),
    path("crud/items", all_items),
    path("crud/items/<int:key>", one_item),
]
application = get_wsgi_application()
