"""The page as the admin listener sends it, put together from its source."""

import base64
import hashlib
import re
from pathlib import Path

ADMIN = Path(__file__).resolve().parents[2] / "crates/lockgate-python/src/admin"


def assembled():
    """The page, and its Content-Security-Policy; as `admin/page.rs` does it."""
    names = re.findall(r'include_str!\("page/([\w.]+\.js)"\)', (ADMIN / "page.rs").read_text())
    assert names, "page.rs includes scripts"
    parts = {
        "style": (ADMIN / "page/page.css").read_text(),
        "script": "".join((ADMIN / "page" / name).read_text() for name in names),
    }
    text = (ADMIN / "page/index.html").read_text()
    policy = ["default-src 'none'", "base-uri 'none'", "form-action 'none'"]
    policy += ["frame-ancestors 'none'", "connect-src 'self'", "img-src data:"]
    policy += ["require-trusted-types-for 'script'"]
    for kind, part in parts.items():
        text = text.replace(f"{{{{{kind}}}}}", part)
        digest = base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
        policy.append(f"{kind}-src 'sha256-{digest}'")
    return text, "; ".join(policy)


def script(*names):
    """Scripts of the page, joined."""
    return "".join((ADMIN / "page" / name).read_text() for name in names)
