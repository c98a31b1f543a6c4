"""A chat with Flask-SocketIO in threads, and a page for it: /static/chat.html."""

import os

from engineio.payload import Payload
from flask import Flask, send_file
from flask_socketio import SocketIO, emit

# A page sends what it has said while it was not connected in one request; more than 16 messages
# in it are refused, and so lost.
Payload.max_decode_packets = 1000

app = Flask(__name__)
socketio = SocketIO(app, async_mode="threading", cors_allowed_origins="*")


@app.get("/socket.io.min.js")
def client():
    return send_file(os.environ["SOCKET_IO_CLIENT"], mimetype="text/javascript")


@app.get("/hello")
def hello():
    return "hello"


@socketio.on("say")
def say(text):
    emit("said", text, broadcast=True)
