"""Which secrets are too weak, for any framework."""

from __future__ import annotations

#: OWASP asks for 64 bits of entropy in a session id; a key that signs them has at least twice.
FEWEST_BYTES = 16
FEWEST_DIFFERENT = 5
#: From examples and generators: such keys are public.
KNOWN = ("changeme", "change me", "change-me", "secret", "your-secret", "dev", "django-insecure-")


def weakness(secret: object) -> str | None:
    """What is wrong with a key, without the key itself."""
    text = secret.decode("latin-1") if isinstance(secret, bytes) else str(secret)
    for known in KNOWN:
        if text.lower().startswith(known):
            return f"begins with {known!r}, as in examples"
    if len(text) < FEWEST_BYTES:
        return f"has {len(text)} characters, and not at least {FEWEST_BYTES}"
    if len(set(text)) < FEWEST_DIFFERENT:
        return f"has {len(set(text))} different characters"
    return None
