"""The standards and pages that rules refer to."""

from __future__ import annotations

import re

from lockgate.check.finding import Paragraph

REPOSITORY = "https://github.com/lockgate/lockgate/blob/main/"


def pep(title: str) -> Paragraph:
    """A section of PEP 3333, which numbers none."""
    anchor = re.sub("[^a-z0-9]+", "-", title.lower()).strip("-")
    return Paragraph(f"PEP 3333, {title}", f"https://peps.python.org/pep-3333/#{anchor}")


def rfc9110(section: str) -> Paragraph:
    link = f"https://www.rfc-editor.org/rfc/rfc9110#section-{section}"
    return Paragraph(f"RFC 9110, {section}", link)


def page(path: str, anchor: str = "") -> Paragraph:
    """A page of Lockgate's documentation."""
    target = f"{path}#{anchor}" if anchor else path
    return Paragraph(target, REPOSITORY + target)


def checking(anchor: str) -> Paragraph:
    return page("docs/checking.md", anchor)


STRINGS = pep("A Note On String Types")
APPLICATION = pep("The Application/Framework Side")
DETAILS = pep("Specification Details")
ENVIRON = pep("environ Variables")
STREAMS = pep("Input and Error Streams")
START_RESPONSE = pep("The start_response() Callable")
CONTENT_LENGTH = pep("Handling the Content-Length Header")
STREAMING = pep("Buffering and Streaming")
WRITE = pep("The write() Callable")
UNICODE = pep("Unicode Issues")
ERRORS = pep("Error Handling")
OTHER_FEATURES = pep("Other HTTP Features")
THREADS = pep("Thread Support")
