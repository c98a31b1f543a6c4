wsgi_app = "hello:app"  #: app = "hello:app"
bind = ["127.0.0.1:8001", "unix:django.sock"]  #: bind = ["127.0.0.1:8001", "unix:*django.sock"]
worker_class = "gthread"  #: worker_class = "gthread"
workers = 2  #: workers = 2
threads = 8  #: threads = 8
max_requests = 1_000  #: max_requests = 1000
max_requests_jitter = 100  #: max_requests_jitter = 100
preload_app = True  #: preload = true
raw_env = [  #: env = ["DJANGO_SETTINGS_MODULE=shop.settings", "LANG=C.UTF-8"]
    "DJANGO_SETTINGS_MODULE=shop.settings",
    "LANG=C.UTF-8",
]
forwarded_allow_ips = "*"  #: forwarded_allow_ips = ["*"]
secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}  #: secure_scheme_headers = *
