"""The application: `lockgate website.wsgi:application`."""

import os

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "website.settings")

# The wrap serves the files of the admin from where they are installed, without `collectstatic`.
# That is meant for an example: a large site serves them from a folder, outside of Python.
application = StaticFilesHandler(get_wsgi_application())
