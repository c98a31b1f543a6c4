"""A chat with Flask-SocketIO in threads."""

from flask import Flask
from flask_socketio import SocketIO, emit

app = Flask(__name__)
socketio = SocketIO(app, async_mode="threading", cors_allowed_origins="*")


@socketio.on("say")
def say(text):
    emit("said", text, broadcast=True)
