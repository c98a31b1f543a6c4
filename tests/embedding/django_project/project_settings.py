"""A Django project with a database in memory."""

from pathlib import Path

HERE = Path(__file__).resolve().parent

SECRET_KEY = "for tests only"
ALLOWED_HOSTS = []
ROOT_URLCONF = "notes.urls"
INSTALLED_APPS = ["django.contrib.staticfiles", "notes"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "static/"
STATIC_ROOT = HERE / "collected"
STATICFILES_DIRS = [HERE / "static"]
MEDIA_URL = "media/"
MEDIA_ROOT = HERE / "media"
