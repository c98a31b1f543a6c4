"""HTTPS: sockets with certificates, and the redirect to them."""

from __future__ import annotations

from lockgate.convert.conversion import Conversion
from lockgate.convert.option import Option
from lockgate.convert.report import Outcome
from lockgate.convert.uwsgi.mapping.addresses import BadAddress, address


def convert(conversion: Conversion, shared: list[str]) -> None:
    for option in conversion.take_all("https", "https-socket"):
        parts = [part.strip() for part in option.text.split(",", 4)] + [""] * 5
        secure(conversion, option, shared, *parts[:5])
    for option in conversion.take_all("https2"):
        pairs = dict(pair.partition("=")[::2] for pair in option.text.split(","))
        secure(
            conversion,
            option,
            shared,
            pairs.get("addr") or pairs.get("address") or "",
            pairs.get("cert") or pairs.get("crt") or "",
            pairs.get("key", ""),
            pairs.get("ciphers", ""),
            pairs.get("clientca") or pairs.get("client_ca") or "",
        )
    for option in conversion.take_all("sni"):
        server_name(conversion, option)
    plain = conversion.take("http-to-https")
    if plain is not None:
        redirect(conversion, plain, shared)


def secure(
    conversion: Conversion,
    option: Option,
    shared: list[str],
    where: str,
    certfile: str,
    keyfile: str,
    ciphers: str,
    authority: str,
) -> None:
    """A socket that speaks TLS."""
    if not certfile:
        conversion.not_supported(option, "uWSGI refuses it: it needs ADDRESS,CERTIFICATE,KEY")
        return
    try:
        found, remark = address(where, shared)
    except BadAddress as problem:
        conversion.not_supported(option, str(problem))
        return
    if found.startswith(("unix:", "fd://")):
        conversion.not_supported(option, "TLS needs an address with a port")
        return
    settings = conversion.settings
    comments = conversion.comments(option, Outcome.MAPPED, "")
    names = ["bind"]
    settings.add("bind", f"https://{found}", *comments)
    if "certfile" not in settings:
        names.append("certfile")
        settings.put("certfile", certfile, *comments)
        if keyfile and keyfile != certfile:
            names.append("keyfile")
            settings.put("keyfile", keyfile, *comments)
    elif settings.value("certfile") != certfile:
        names.append("certificates")
        settings.add(
            "certificates", {"certfile": certfile, "keyfile": keyfile or certfile}, *comments
        )
        remark = "each address offers all certificates, by the name that a client asks for"
    if ciphers:
        names.append("ciphers")
        settings.put("ciphers", ciphers, *comments)
        remark = "; ".join(
            filter(None, (remark, "ciphers that TLS 1.2 and 1.3 have dropped are errors"))
        )
    if authority:
        names += ["ca_certs", "cert_reqs"]
        settings.put("ca_certs", authority.removeprefix("!"), *comments)
        wanted = "required" if authority.startswith("!") else "optional"
        settings.put("cert_reqs", wanted, *comments)
    conversion.record(option, Outcome.CHANGED if remark else Outcome.MAPPED, tuple(names), remark)


def server_name(conversion: Conversion, option: Option) -> None:
    """`NAME CERTIFICATE,KEY[,CIPHERS[,CA]]`."""
    _, _, files = option.text.partition(" ")
    parts = [part.strip() for part in files.split(",")]
    if not parts[0]:
        conversion.not_supported(option, "uWSGI refuses it: it needs NAME CERTIFICATE,KEY")
        return
    table = {"certfile": parts[0], "keyfile": parts[1] if len(parts) > 1 else parts[0]}
    detail = "the names in the certificate decide"
    if len(parts) > 2:
        detail += "; ciphers and authorities are set once for all of them"
    conversion.add(option, "certificates", table, detail, Outcome.CHANGED)


def redirect(conversion: Conversion, option: Option, shared: list[str]) -> None:
    try:
        found, _ = address(option.text, shared)
    except BadAddress as problem:
        conversion.not_supported(option, str(problem))
        return
    if found.startswith(("unix:", "fd://")):
        conversion.not_supported(option, "a redirect needs an address with a port")
        return
    comments = conversion.comments(option, Outcome.MAPPED, "")
    conversion.settings.add("bind", f"http://{found}", *comments)
    conversion.settings.put("https_redirect", True, *comments)
    conversion.record(
        option,
        Outcome.CHANGED,
        ("bind", "https_redirect"),
        "all addresses without TLS redirect, not only this one",
    )
