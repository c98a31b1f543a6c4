import os

stage = os.environ.get("STAGE", "production")  #: variable
if stage == "production":
    workers = 2
    loglevel = "info"
    preload_app = True  #: preload = true
else:
    # Messages name the last line that binds a name.
    workers = 1  #: workers = 2
    loglevel = "debug"  #: log_level = "info"
    reload = True

try:
    from local_settings import bind
except ImportError:
    bind = "127.0.0.1:8010"  #: bind = ["127.0.0.1:8010"]

for name in ("A", "B"):  #: variable
    os.environ.setdefault(f"FEATURE_{name}", "1")
