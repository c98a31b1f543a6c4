"""A Flask application with a held event stream, and a page for it: /static/events.html."""

from flask import Flask, Response

app = Flask(__name__)


@app.get("/hello")
def hello():
    return "hello"


@app.get("/events")
def events():
    headers = {"Grip-Hold": "stream", "Grip-Channel": "news", "Cache-Control": "no-cache"}
    return Response("retry: 200\n\n", mimetype="text/event-stream", headers=headers)
