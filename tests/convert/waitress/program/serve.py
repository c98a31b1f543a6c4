"""Serves the site."""

import os

from hello import application
from waitress import serve

if __name__ == "__main__":
    serve(
        application,
        host="127.0.0.1",
        port=int(os.environ.get("PORT", "8080")),
        threads=8,
        thread=8,
        channel_timeout=60,
        url_scheme="https",
        trusted_proxy="127.0.0.1",
        trusted_proxy_count=2,
        trusted_proxy_headers="x-forwarded-for x-forwarded-host",
        clear_untrusted_proxy_headers=True,
        **{"ident": "site"},
    )
