"""gunicorn's requests and responses, as hooks get them."""
