"""The pages: nickname, notes, attachments, and the export."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from functools import wraps

import storage
from flask import (
    Blueprint,
    Response,
    abort,
    flash,
    redirect,
    render_template,
    request,
    send_file,
    session,
    stream_with_context,
    url_for,
)

blueprint = Blueprint("pages", __name__)
LONGEST_TITLE, LONGEST_NICKNAME = 200, 40


def needs_nickname(view):
    @wraps(view)
    def checked(*arguments, **options):
        if "nickname" not in session:
            flash("Please choose a nickname first.", "warning")
            return redirect(url_for("pages.login", next=request.path))
        return view(*arguments, **options)

    return checked


@blueprint.get("/")
def index():
    return render_template("notes.html", notes=storage.notes())


@blueprint.route("/login", methods=["GET", "POST"])
def login():
    if request.method != "POST":
        return render_template("login.html")
    nickname = request.form.get("nickname", "").strip()
    if not nickname or len(nickname) > LONGEST_NICKNAME:
        flash(f"A nickname has between 1 and {LONGEST_NICKNAME} characters.", "error")
        return render_template("login.html"), 400
    session["nickname"] = nickname
    flash(f"Welcome, {nickname}!", "success")
    return redirect(safe_target(request.args.get("next")))


@blueprint.post("/logout")
def logout():
    session.clear()
    flash("See you soon.", "success")
    return redirect(url_for("pages.index"))


@blueprint.route("/notes/new", methods=["GET", "POST"])
@needs_nickname
def create():
    if request.method != "POST":
        return render_template("edit.html", note={"title": "", "body": ""}, heading="New note")
    title, body = request.form.get("title", "").strip(), request.form.get("body", "")
    if not title or len(title) > LONGEST_TITLE:
        flash(f"A title has between 1 and {LONGEST_TITLE} characters.", "error")
        draft = {"title": title, "body": body}
        return render_template("edit.html", note=draft, heading="New note"), 400
    number = storage.create_note(session["nickname"], title, body)
    flash("The note is saved.", "success")
    return redirect(url_for("pages.show", number=number))


@blueprint.get("/notes/<int:number>")
def show(number: int):
    note = storage.note(number) or abort(404)
    return render_template("note.html", note=note, attachments=storage.attachments(number))


@blueprint.route("/notes/<int:number>/edit", methods=["GET", "POST"])
@needs_nickname
def edit(number: int):
    note = own_note(number)
    if request.method != "POST":
        return render_template("edit.html", note=note, heading="Edit note")
    title, body = request.form.get("title", "").strip(), request.form.get("body", "")
    if not title or len(title) > LONGEST_TITLE:
        flash(f"A title has between 1 and {LONGEST_TITLE} characters.", "error")
        draft = {"id": number, "title": title, "body": body}
        return render_template("edit.html", note=draft, heading="Edit note"), 400
    storage.change_note(number, title, body)
    flash("The note is changed.", "success")
    return redirect(url_for("pages.show", number=number))


@blueprint.post("/notes/<int:number>/delete")
@needs_nickname
def delete(number: int):
    own_note(number)
    storage.delete_note(number)
    flash("The note is deleted.", "success")
    return redirect(url_for("pages.index"))


@blueprint.post("/notes/<int:number>/attachments")
@needs_nickname
def attach(number: int):
    own_note(number)
    sent = request.files.get("file")
    if sent is None or not sent.filename:
        flash("Choose a file first.", "error")
        return redirect(url_for("pages.show", number=number))
    sha256 = storage.attach(number, sent.filename, sent.stream)
    flash(f"{sent.filename} is attached, SHA-256 {sha256}.", "success")
    return redirect(url_for("pages.show", number=number))


@blueprint.get("/attachments/<int:number>")
def download(number: int):
    attachment = storage.attachment(number) or abort(404)
    return send_file(
        storage.path_of(attachment),
        mimetype="application/octet-stream",
        as_attachment=True,
        download_name=attachment["name"],
        etag=attachment["sha256"],
    )


@blueprint.get("/notes.csv")
def export():
    """One line is made when the one before it has been sent; a million notes need no memory.

    The server's cache may keep the file for ten seconds, browsers may not.
    """
    return Response(
        stream_with_context(csv_lines()),
        mimetype="text/csv",
        headers={
            "Content-Disposition": "attachment; filename=notes.csv",
            "Cache-Control": "public, max-age=0, s-maxage=10",
        },
    )


def csv_lines() -> Iterator[str]:
    columns = ("id", "author", "title", "body", "changed")
    line = io.StringIO()
    writer = csv.writer(line)
    writer.writerow(columns)
    for note in storage.each_note():
        yield taken(line)
        writer.writerow([note[column] for column in columns])
    yield taken(line)


def taken(line: io.StringIO) -> str:
    text = line.getvalue()
    line.seek(0)
    line.truncate()
    return text


def own_note(number: int):
    note = storage.note(number) or abort(404)
    if note["author"] != session["nickname"]:
        abort(403, "Only its author may change a note.")
    return note


def safe_target(wanted: str | None) -> str:
    """A path of this site; what could lead to another one is ignored."""
    if wanted and wanted.startswith("/") and not wanted.startswith(("//", "/\\")):
        return wanted
    return url_for("pages.index")
