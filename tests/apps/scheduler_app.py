"""APScheduler in the background, started by the import and shut down by an exit function."""

import atexit
import os
import time
from pathlib import Path

from apscheduler.schedulers.background import BackgroundScheduler
from flask import Flask

app = Flask(__name__)
scheduler = BackgroundScheduler()
scheduler.start()
atexit.register(scheduler.shutdown)


def note(text):
    with Path(os.environ["NOTES"]).open("a") as notes:
        notes.write(f"{text}\n")


def job():
    note("begins")
    time.sleep(0.5)
    note("ended")


@app.get("/")
def begin():
    scheduler.add_job(job)
    return str(os.getpid())
