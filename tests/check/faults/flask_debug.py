from flask import Flask, session
from werkzeug.debug import DebuggedApplication

app = Flask(__name__)  # finds: flask-secret-key-missing
app.debug = True  # finds: flask-debug
app.wsgi_app = DebuggedApplication(app.wsgi_app, evalex=True)  # finds: werkzeug-debugger


@app.get("/")
def index():
    return f"hello {session.get('name')}"
