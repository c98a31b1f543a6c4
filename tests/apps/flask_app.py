"""A small Flask application: form, JSON, upload, download, streaming, session, redirect."""

import hashlib
import time

from flask import Flask, Response, jsonify, redirect, request, session, url_for

app = Flask(__name__)
app.secret_key = "only for tests"


@app.get("/")
def index():
    return "hello"


@app.post("/form")
def form():
    return jsonify(request.form)


@app.post("/json")
def json():
    return jsonify(received=request.get_json())


@app.post("/upload")
def upload():
    sent = request.files["file"]
    return jsonify(name=sent.filename, sha256=hashlib.sha256(sent.read()).hexdigest())


@app.get("/stream")
def stream():
    return Response((f"line {number}\n" for number in range(100)), mimetype="text/plain")


@app.get("/session")
def count():
    session["visits"] = session.get("visits", 0) + 1
    return str(session["visits"])


@app.get("/where")
def where():
    return jsonify(link=url_for("where"), script_name=request.script_root, path=request.path)


@app.get("/error")
def error():
    raise ValueError("a fault in a view")


@app.get("/download")
def download():
    return Response(bytes(range(256)) * 4096 * int(request.args["megabytes"]))


@app.get("/slow")
def slow():
    time.sleep(float(request.args["seconds"]))
    return request.args["number"]


@app.get("/empty")
def empty():
    return "", 204


@app.get("/known")
def known():
    response = Response("known")
    response.set_etag("known")
    return response.make_conditional(request)


@app.get("/moved")
def moved():
    return redirect("/where")


@app.get("/cookies")
def cookies():
    return jsonify(request.cookies)
