"""A directory of metrics, cleaned at the start and after each worker."""

import os
import shutil
from pathlib import Path  #: variable

directory = Path(os.environ.get("METRICS_DIR", "metrics"))  #: variable
workers = 2  #: workers = 2
threads = 2  #: threads = 2


def on_starting(_server):  #: hook
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)


def child_exit(_server, worker):  #: hook
    for file in directory.glob(f"*_{worker.pid}.db"):
        file.unlink()
