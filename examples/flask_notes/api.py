"""The JSON API: /api/notes. It trusts who calls it; put your own authentication in front."""

import storage
from flask import Blueprint, abort, jsonify, request, session, url_for

blueprint = Blueprint("api", __name__, url_prefix="/api")


@blueprint.get("/notes")
def list_notes():
    return jsonify([shown(note) for note in storage.notes()])


@blueprint.get("/notes/<int:number>")
def show_note(number: int):
    note = storage.note(number) or abort(404, "There is no such note.")
    attachments = [
        {
            "name": attachment["name"],
            "size": attachment["size"],
            "sha256": attachment["sha256"],
            "url": url_for("pages.download", number=attachment["id"]),
        }
        for attachment in storage.attachments(number)
    ]
    return {**shown(note), "attachments": attachments}


@blueprint.post("/notes")
def create_note():
    sent = request.get_json(silent=True)
    if not isinstance(sent, dict):
        return {"error": "Send a JSON object."}, 400
    title, body = sent.get("title"), sent.get("body", "")
    author = sent.get("author") or session.get("nickname") or "anonymous"
    if not (isinstance(title, str) and title.strip()):
        return {"error": "A note needs a title."}, 400
    if not isinstance(body, str) or not isinstance(author, str):
        return {"error": "Author and body are text."}, 400
    number = storage.create_note(author, title.strip(), body)
    location = url_for("api.show_note", number=number)
    return shown(storage.note(number)), 201, {"Location": location}


@blueprint.delete("/notes/<int:number>")
def delete_note(number: int):
    if not storage.delete_note(number):
        abort(404, "There is no such note.")
    return "", 204


def shown(note) -> dict:
    return {key: note[key] for key in ("id", "author", "title", "body", "changed")}
