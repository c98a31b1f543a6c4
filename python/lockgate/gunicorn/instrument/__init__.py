"""gunicorn's instrumentation."""
