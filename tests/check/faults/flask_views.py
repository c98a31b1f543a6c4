# arguments: --certfile CERTIFICATE --keyfile KEY
from flask import Flask, flash

app = Flask(__name__)
app.config["SECRET_KEY"] = "dev"  # finds: flask-secret-key-weak
app.config["SESSION_COOKIE_SECURE"] = False  # finds: flask-cookie


@app.get("/")
def index():
    flash("hello")
    return "hello"  # finds: cookie-secure


@app.get("/export")
def export():
    return {"a": 1}, 200, {"X-Count": "5\u20ac"}  # finds: latin-1


@app.get("/broken")
def broken():
    return str({}["missing"])  # finds: exception
