"""Links between the documents lead to headings that exist. (`make check` looks for the files.)"""

import re
import subprocess
from pathlib import Path

from harness.pages.sandbox import ROOT

LINK = re.compile(r"\]\((?![a-z]+:)([^)\s#]*)#([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.*?) *#*$")
ANCHOR = re.compile(r'<a (?:id|name)="([^"]+)"')


def test_every_anchor_is_a_heading():
    listed = subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    documents = [ROOT / name for name in listed.stdout.splitlines()]
    documents = [path for path in documents if path.exists()]
    links = [(path, *link) for path in documents for link in LINK.findall(text_of(path))]
    assert len(links) > 100, "the documents have links to headings"
    broken = [
        f"{path.relative_to(ROOT)}: {target}#{anchor}"
        for path, target, anchor in links
        if anchor not in anchors((path.parent / target).resolve() if target else path)
    ]
    assert not broken, "\n".join(broken)


def test_the_readme_names_every_page():
    pages = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    pages |= {f"docs/reference/{path.name}" for path in (ROOT / "docs/reference").glob("*.md")}
    # The first page of the site, which stands in for the README there.
    pages.remove("docs/index.md")
    named = set(re.findall(r"\]\((docs/[^)#]+)", text_of(ROOT / "README.md")))
    assert not pages - named


def test_anchors_are_those_of_github():
    text = "# A `code`: word, two\n## A_b-c (d)\n## Twice\n## Twice\n```sh\n# comment\n```\n"
    assert anchors_of(text) == {"a-code-word-two", "a_b-c-d", "twice", "twice-1"}


def anchors(path: Path) -> set[str]:
    return anchors_of(text_of(path)) if path.suffix == ".md" and path.exists() else set()


def anchors_of(text: str) -> set[str]:
    """GitHub's: lower case, punctuation removed, spaces as hyphens; the second has `-1`."""
    found: set[str] = set()
    for line in outside_of_code(text):
        found.update(ANCHOR.findall(line))
        if heading := HEADING.match(line):
            shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading[1])
            slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
            count = 0
            while (name := f"{slug}-{count}" if count else slug) in found:
                count += 1
            found.add(name)
    return found


def outside_of_code(text: str) -> list[str]:
    lines = []
    is_code = False
    for line in text.splitlines():
        if line.lstrip().startswith(("```", "~~~")):
            is_code = not is_code
        elif not is_code:
            lines.append(line)
    return lines


def text_of(path: Path) -> str:
    return path.read_text("utf-8")
