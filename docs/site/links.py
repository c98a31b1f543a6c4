"""A hook of mkdocs: links out of docs/ lead to the repository."""

import posixpath
import re

LINK = re.compile(r"(\]\()(?!\w+:|#|/)([^)\s]+)")
FENCE = re.compile(r"^ *(```|~~~)")
# What the tests of the pages read; it is not for readers.
COMMENT = re.compile(r"^ *<!-- test:.*?-->\n", re.MULTILINE | re.DOTALL)


def on_page_markdown(markdown, page, config, **_):
    """Rewrites links to files outside of docs/, such as `../contrib/systemd`."""
    lines = []
    is_code = False
    for line in COMMENT.sub("", markdown).split("\n"):
        is_code ^= FENCE.match(line) is not None
        lines.append(line if is_code else LINK.sub(lambda m: _absolute(m, page, config), line))
    return "\n".join(lines)


def _absolute(match, page, config):
    target, _, anchor = match[2].partition("#")
    folder = posixpath.dirname(page.file.src_uri)
    path = posixpath.normpath(posixpath.join("docs", folder, target))
    if path.startswith("docs/") and not path.endswith(".toml"):
        return match[0]
    suffix = f"#{anchor}" if anchor else ""
    return f"{match[1]}{config.repo_url}/blob/main/{path}{suffix}"
