"""The application that is served: Flask, with a version that a reload changes."""

from flask import Flask, request

app = Flask(__name__)


@app.get("/")
def hello() -> str:
    return "version 1\n"


@app.post("/length")
def length() -> str:
    return f"{len(request.get_data())} {request.scheme}\n"
