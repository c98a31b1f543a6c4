"""The error page: a failure as HTML, or as text for a client that is no browser.

The page has no external asset and no script. Its colours have a contrast of at least 4.5:1, light
and dark (WCAG 2.2, 1.4.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from html import escape
from itertools import groupby
from typing import Any

from lockgate.dev import failure as failures
from lockgate.dev.failure import Failure, Frame, Link

STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1b1f24; --dim: #57606a; --card: #f6f8fa;
  --line: #d0d7de; --mark: #ffebe9; --strong: #b3141d; --link: #0550ae }
@media (prefers-color-scheme: dark) { :root { --back: #0d1117; --text: #e6edf3; --dim: #9da7b3;
  --card: #161b22; --line: #30363d; --mark: #4b1113; --strong: #ff8f88; --link: #79c0ff } }
* { box-sizing: border-box }
body { margin: 0; background: var(--back); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif }
main { max-width: 72rem; margin: 0 auto; padding: 1.5rem 1rem 3rem }
header { border-left: .375rem solid var(--strong); padding-left: 1rem; margin-bottom: 1.5rem }
h1 { font-size: 1.5rem; line-height: 1.3; margin: 0; color: var(--strong);
  overflow-wrap: anywhere }
h2 { font-size: 1.125rem; margin: 1.5rem 0 .5rem; overflow-wrap: anywhere }
p { margin: .5rem 0; overflow-wrap: anywhere }
.what { color: var(--dim); margin: 0 }
.message { white-space: pre-wrap; overflow-wrap: anywhere;
  font: .9375rem/1.5 ui-monospace, monospace }
.hints { border: 1px solid var(--line); border-radius: .375rem; padding: .5rem 1rem;
  margin: 1rem 0; list-style: none }
.hints li { overflow-wrap: anywhere }
details { border: 1px solid var(--line); border-radius: .375rem; margin: .5rem 0;
  background: var(--card) }
summary { padding: .5rem .75rem; cursor: pointer; overflow-wrap: anywhere }
summary:focus-visible, pre:focus-visible { outline: .1875rem solid var(--link);
  outline-offset: .125rem }
.libraries > summary { color: var(--dim) }
.folded { padding: 0 .75rem .25rem }
code, pre { font: .875rem/1.6 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace }
pre { margin: 0; padding: .5rem 0; overflow-x: auto; border-top: 1px solid var(--line);
  tab-size: 4 }
pre.all { padding: .75rem; white-space: pre }
.row { display: block; width: max-content; min-width: 100%; padding: 0 .75rem }
.row i { display: inline-block; min-width: 3.5em; margin-right: 1em; text-align: right;
  color: var(--dim); font-style: normal; user-select: none }
.row.here { background: var(--mark) }
.row.here i { color: var(--text); font-weight: bold }
mark { background: none; color: inherit; font-weight: bold;
  text-decoration: underline wavy var(--strong); text-underline-offset: .25em }
footer { color: var(--dim); margin-top: 2rem; font-size: .875rem }
@media print { details { break-inside: avoid } }
"""


def render(failure: Failure, footer: str) -> str:
    """The page."""
    links = "".join(section(link, index, failure) for index, link in enumerate(failure.links))
    hints = "".join(f"<li>{escape(hint)}</li>" for hint in failure.hints)
    body = failure.text if not failure.links else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(failure.summary)}</title><style>{STYLE}</style></head>"
        f"<body><main><header>{what(failure)}"
        f"<h1>{escape(failure.summary)}</h1>{where(failure)}</header>"
        + (f'<ul class="hints">{hints}</ul>' if hints else "")
        + (f'<p class="message">{escape(body)}</p>' if body else "")
        + links
        + (whole(failure.text) if failure.links else "")
        + f"<footer><p>{escape(footer)}</p></footer></main></body></html>\n"
    )


def what(failure: Failure) -> str:
    return f'<p class="what">{escape(failure.title)}</p>' if failure.links else ""


def where(failure: Failure) -> str:
    place = failure.place
    if place is None:
        return ""
    return f"<p><code>{escape(failures.shown_path(place.path))}</code>, line {place.line}</p>"


def section(link: Link, index: int, failure: Failure) -> str:
    """One exception with its frames; the last frame of the developer's code is open."""
    own = [frame for frame in link.frames if frame.is_own]
    opened = (own or link.frames)[-1:]
    frames = ""
    for is_shown, group in groupby(link.frames, lambda frame: frame.is_own or not own):
        members = [details(frame, any(frame is one for one in opened)) for frame in group]
        frames += "".join(members) if is_shown else folded(members)
    heading = f"{link.name}: {link.message}" if link.message else link.name
    is_last = index == len(failure.links) - 1
    title = "Traceback, most recent call last" if is_last else heading
    title = "Source" if len(link.frames) == 1 and is_last else title
    relation = f"<p>{escape(link.relation)}</p>" if link.relation else ""
    full = ""
    if is_last and "\n" in link.message.strip():
        full = f'<p class="message">{escape(link.message)}</p>'
    return f"{relation}<section>{full}<h2>{escape(title)}</h2>{frames}</section>"


def folded(members: list[str]) -> str:
    """Calls inside libraries, which are rarely at fault."""
    number = f"{len(members)} calls" if len(members) > 1 else "1 call"
    return (
        f'<details class="libraries"><summary>{number} in libraries</summary>'
        f'<div class="folded">{"".join(members)}</div></details>'
    )


def details(frame: Frame, is_open: bool) -> str:
    kind = "own" if frame.is_own else "library"
    function = f" in <code>{escape(frame.function)}</code>" if frame.function else ""
    rows = "".join(
        f'<span class="row{" here" if line.is_marked else ""}"><i>{line.number}</i>'
        f"{marked(line.text, frame.span) if line.is_marked else escape(line.text)}\n</span>"
        for line in frame.source
    )
    path = escape(failures.shown_path(frame.path))
    source = f'<pre tabindex="0" aria-label="Source">{rows}</pre>' if rows else ""
    return (
        f'<details class="{kind}"{" open" if is_open else ""}><summary><code>{path}</code>, '
        f"line {frame.line}{function}</summary>{source}</details>"
    )


def marked(text: str, span: tuple[int, int] | None) -> str:
    start, end = span or (len(text) - len(text.lstrip()), len(text.rstrip()))
    if start >= len(text.rstrip()):
        # The end of a line: there is no character to mark.
        text = text.rstrip().ljust(start) + " "
        end = start + 1
    parts = text[:start], text[start:end], text[end:]
    before, inside, after = map(escape, parts)
    return f"{before}<mark>{inside}</mark>{after}"


def whole(text: str) -> str:
    return (
        "<h2>As text</h2><details><summary>The whole report, to copy</summary>"
        f'<pre class="all" tabindex="0" aria-label="Report">{escape(text)}</pre></details>'
    )


def wants_html(accept: str) -> bool:
    """Whether the client is a browser: it names HTML. `*/*` is what curl and programs send."""
    return any(
        part.partition(";")[0].strip().lower() in ("text/html", "application/xhtml+xml")
        for part in accept.split(",")
    )


class ErrorPage:
    """A WSGI application that answers every request with the failure, as status 500."""

    def __init__(self, failure: Failure, footer: str) -> None:
        self.failure = failure
        self.footer = footer

    def __call__(
        self,
        environ: dict[str, Any],
        start_response: Callable[..., Any],
        exc_info: Any = None,
    ) -> Iterable[bytes]:
        if wants_html(environ.get("HTTP_ACCEPT", "")):
            kind, text = "text/html", render(self.failure, self.footer)
        else:
            kind, text = "text/plain", f"{self.failure.title}\n\n{self.plain()}\n\n{self.footer}\n"
        body = text.encode("utf-8", "backslashreplace")
        headers = [
            ("Content-Type", f"{kind}; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ]
        start_response("500 Internal Server Error", headers, *([exc_info] if exc_info else []))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def plain(self) -> str:
        return "\n".join(filter(None, [self.failure.text, *self.failure.hints]))
