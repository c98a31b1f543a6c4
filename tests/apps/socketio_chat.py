"""A chat with Flask-SocketIO in threads, and a page for it: /static/chat.html."""

from flask import Flask
from flask_socketio import SocketIO, emit

app = Flask(__name__)
socketio = SocketIO(app, async_mode="threading", cors_allowed_origins="*")


@app.get("/hello")
def hello():
    return "hello"


@socketio.on("say")
def say(text):
    emit("said", text, broadcast=True)
