"""What a small Flask service looks like: a string, and a document made from request headers."""

from flask import Flask, jsonify, request

app = Flask(__name__)

ORDER = {
    "id": 90210,
    "customer": {"name": "Grace Hopper", "email": "grace@example.org", "newsletter": False},
    "roles": ["buyer", "reviewer"],
    "total": 184.25,
    "lines": [
        {"article": f"A-{number:05d}", "count": number + 1, "note": "ships within two days"}
        for number in range(14)
    ],
}


@app.get("/")
def hello():
    return "Hello, World!"


@app.get("/json")
def document():
    seen = {
        "agent": request.headers.get("User-Agent"),
        "language": request.headers.get("Accept-Language"),
        "trace": request.headers.get("X-Request-ID"),
        "query": request.args.get("q"),
    }
    return jsonify(ORDER | seen)
