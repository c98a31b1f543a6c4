"""An admin listener whose every text is an attack on the page that shows it."""

import json

from window.fake_admin import FakeAdmin

#: Sets `pwned` in the page if any part of it is taken as markup, a script or a URL.
ATTACK = (
    "<img src=x onerror=pwned=1><svg onload=pwned=2></svg><script>pwned=3</script>"
    "<iframe srcdoc='<script>parent.pwned=4</script>'></iframe>"
    "\"' onmouseover=pwned=5 autofocus onfocus=pwned=6 x='</script></style></textarea></title>"
    "<base href=//evil.example/>javascript:pwned=7 ${pwned=8} {{pwned=9}} \u202e\u2028__proto__"
)

#: Texts that the page decides by.
KEPT = {"name", "state", "show", "readiness", "level"}


def hostile(value, key=""):
    """The same JSON with an attack behind each text."""
    if isinstance(value, dict):
        return {name: hostile(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [hostile(inner, key) for inner in value]
    return value + ATTACK if isinstance(value, str) and key not in KEPT else value


class HostileAdmin(FakeAdmin):
    """The answers if clients, the application or another process on the port choose all texts."""

    def answer(self, method, target, headers):
        status, kind, body = super().answer(method, target, headers)
        if kind == "application/json":
            body = json.dumps(hostile(json.loads(body)))
        return status, kind, body
