"""Breaches of PEP 3333, reported in the terminal while the application runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lockgate.check.finding import Finding, Once
from lockgate.check.protocol import validated
from lockgate.dev.middleware.messages import Messages

Application = Callable[..., Any]


def validate(application: Application, messages: Messages) -> Application:
    """The application, with a message for each rule of PEP 3333 that it breaks, once a place."""

    def report(finding: Finding) -> None:
        messages.say(f"{finding}\n  {finding.rule.wanted}\n  {finding.rule.paragraph.link}")

    return validated(application, Once(report))
