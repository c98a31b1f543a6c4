"""A Flask application whose import pushes its context, as tutorials do, with a user in g."""

import threading

from flask import Flask, g, request

app = Flask(__name__)
app.app_context().push()
both = threading.Barrier(2)


@app.get("/")
def show():
    before = g.get("user")
    g.user = request.args["user"]
    if "beside" in request.args:
        both.wait(10)
    return f"{before} {g.user}"
