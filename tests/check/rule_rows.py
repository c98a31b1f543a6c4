"""The tables of rules in docs/checking.md: `python tests/check/rule_rows.py` writes them again."""

from pathlib import Path

from lockgate.check import paragraphs
from lockgate.check.rules import (
    body,
    databases,
    head,
    importing,
    of_django,
    of_flask,
    of_pyramid,
    of_sqlalchemy,
    on_host,
    requests,
    responses,
)

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "checking.md"

#: By the heading of the section that has the table.
SECTIONS = {
    "### start_response": head.RULES,
    "### Bodies and streams": body.RULES,
    "### Requests": requests.RULES,
    "### HTTP": responses.RULES,
    "### The import": importing.RULES,
    "### Flask": of_flask.RULES,
    "### Django": of_django.RULES,
    "### Pyramid": of_pyramid.RULES,
    "### Databases": of_sqlalchemy.RULES + databases.RULES,
    "### The host": on_host.RULES,
}
HEAD = "| rule | level | what is right | where it stands |\n| --- | --- | --- | --- |\n"


def table(rules):
    return HEAD + "".join(row(rule) for rule in rules)


def row(rule):
    paragraph = rule.paragraph
    target = paragraph.link.removeprefix(paragraphs.REPOSITORY)
    if target.startswith("docs/checking.md"):
        target, title = target.removeprefix("docs/checking.md"), "below"
    elif target.startswith("docs/"):
        target = target.removeprefix("docs/")
        title = target.partition("#")[0]
    else:
        title = paragraph.title
    return f"| `{rule.id}` | {rule.level} | {rule.wanted} | [{title}]({target}) |\n"


def written(text):
    """The page with these tables."""
    for heading, rules in SECTIONS.items():
        before, after = text.split(f"\n{heading}\n", 1)
        start = after.index(HEAD[:10]) if HEAD[:10] in after.split("\n### ")[0] else None
        if start is None:
            after = f"\n{table(rules)}{after}"
        else:
            end = after.find("\n\n", start)
            after = after[:start] + table(rules) + after[end + 1 :]
        text = f"{before}\n{heading}\n{after}"
    return text


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
