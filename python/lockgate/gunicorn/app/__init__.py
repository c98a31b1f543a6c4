"""Programs that start gunicorn as a library: `gunicorn.app.base` and `gunicorn.app.wsgiapp`."""
