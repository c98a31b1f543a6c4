"""All rules."""

from __future__ import annotations

from lockgate.check import protocol
from lockgate.check.finding import Rule
from lockgate.check.rules import (
    databases,
    importing,
    of_django,
    of_flask,
    of_pyramid,
    of_sqlalchemy,
    on_host,
    requests,
    responses,
)

RULES: tuple[Rule, ...] = (
    *protocol.RULES,
    *requests.RULES,
    *responses.RULES,
    *importing.RULES,
    *of_flask.RULES,
    *of_django.RULES,
    *of_pyramid.RULES,
    *of_sqlalchemy.RULES,
    *databases.RULES,
    *on_host.RULES,
)


def by_id() -> dict[str, Rule]:
    return {rule.id: rule for rule in RULES}
