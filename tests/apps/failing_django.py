"""A Django application whose view fails; Django answers 500 itself."""

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.urls import path

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="test")


def order(request, number):
    return {}[number]


urlpatterns = [path("orders/<int:number>", order)]
app = get_wsgi_application()
