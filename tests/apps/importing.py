"""Imported in the way that IMPORT names: it takes long, or it kills its process."""

import os
import signal
import time
from pathlib import Path

from hello import app  # noqa: F401

how, _, path = os.environ["IMPORT"].partition(":")
with Path(path).open("a") as note:
    note.write(f"{os.getpid()}\n")
if how == "sleeps":
    time.sleep(60)
elif how == "computes":
    # In C, holding the interpreter all the time.
    sum(range(10**11))
elif how == "dies-again" and len(Path(path).read_text().split()) > 1:
    os.kill(os.getpid(), signal.SIGKILL)
