"""Flask-Executor: views answer at once and leave jobs to a pool of threads or processes."""

import os
import time
from pathlib import Path

from flask import Flask
from flask_executor import Executor

app = Flask(__name__)
app.config["EXECUTOR_TYPE"] = os.environ["EXECUTOR"]
app.config["EXECUTOR_MAX_WORKERS"] = 1
executor = Executor(app)


def job(number):
    time.sleep(0.2)
    with Path(os.environ["NOTES"]).open("a") as notes:
        notes.write(f"{number}\n")


@app.get("/<int:count>")
def begin(count):
    """The pool runs one at a time: all but the first wait in its queue."""
    for number in range(count):
        executor.submit(job, number)
    return str(os.getpid())
