"""A Flask application with a login, and Lockgate's sessions; SESSION_STORE names the store."""

import os

from flask import Flask, flash, get_flashed_messages, jsonify, session
from lockgate.sessions.flask import LockgateSessionInterface

app = Flask(__name__)
app.secret_key = "only for tests, with at least 32 bytes"
app.session_interface = LockgateSessionInterface(store=os.environ.get("SESSION_STORE"))


@app.get("/visit")
def visit():
    session.setdefault("pages", []).append("visit")
    return jsonify(len(session["pages"]))


@app.get("/login")
def login():
    session.renew()
    session["user"] = "ann"
    session.permanent = True
    flash("welcome")
    return jsonify("ann")


@app.get("/user")
def user():
    return jsonify([session.get("user"), len(session.get("pages", [])), get_flashed_messages()])


@app.get("/logout")
def logout():
    session.clear()
    return jsonify(None)


@app.get("/")
def index():
    return jsonify("hello")
