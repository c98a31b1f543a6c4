"""The public page: every book. The server's cache may keep it for ten seconds, browsers may not."""

from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.views.decorators.cache import cache_control

from books.models import Book

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Books</title>
<style>
  body {{ max-width: 40rem; margin: 3rem auto; padding: 0 1rem; }}
  body {{ font: 1rem/1.6 system-ui, sans-serif; }}
  li {{ margin: .4rem 0; }} small {{ color: #667; }}
</style>
<h1>Books</h1>
<ul>{}</ul>
<p><a href="/admin/">Edit them</a></p>
"""


@cache_control(public=True, max_age=0, s_maxage=10)
def index(request: HttpRequest) -> HttpResponse:
    books = ((book.title, book.author) for book in Book.objects.all())
    lines = format_html_join("\n", "<li>{} <small>{}</small></li>", books)
    return HttpResponse(format_html(PAGE, lines or "None yet."))
