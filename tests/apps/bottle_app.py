"""A small Bottle application: form, JSON, upload, streaming, cookie."""

import hashlib

import bottle
from bottle import request, response

app = bottle.Bottle()
SECRET = "only for tests"


@app.get("/")
def index():
    return "hello"


@app.post("/form")
def form():
    return dict(request.forms.decode())


@app.post("/json")
def json():
    return {"received": request.json}


@app.post("/upload")
def upload():
    sent = request.files["file"]
    return {"name": sent.raw_filename, "sha256": hashlib.sha256(sent.file.read()).hexdigest()}


@app.get("/stream")
def stream():
    for number in range(100):
        yield f"line {number}\n"


@app.get("/session")
def count():
    visits = int(request.get_cookie("visits", 0, secret=SECRET)) + 1
    response.set_cookie("visits", str(visits), secret=SECRET)
    return str(visits)


@app.get("/error")
def error():
    raise ValueError("a fault in a view")
