"""A Flask application whose views fail; Flask answers 500 itself."""

import flask

app = flask.Flask(__name__)


@app.get("/orders/<int:number>")
def order(number):
    return {"share": share(number)}


def share(number):
    return 1 / (number - number)
