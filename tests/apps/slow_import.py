"""An application that takes long to import."""

import time

from hello import app  # noqa: F401

time.sleep(2)
