"""No attack of `harness/edge_attacks.py` does harm; `edge_table.py` prints them beside nginx."""

import pytest
from harness.edge_attacks import NO_TRUST, Target, cases, make_root, outcome, seen

#: The application shows a field that it does not name in Vary: no server can know.
LEFT_TO_THE_APPLICATION = {
    "`X-Original-URL`, shown by the application",
    "another field, without Vary",
}
CASES = {
    f"{area}: {title}": attack
    for area, title, attack in cases()
    if title not in LEFT_TO_THE_APPLICATION
}


@pytest.fixture(scope="module")
def server(shared, shared_site):
    make_root(shared_site.root)
    return shared(
        "edge_site:app",
        *NO_TRUST,
        "--static",
        f"/static={shared_site.root}",
        "--cache",
        "4MiB",
        "--compress",
        "--threads",
        "8",
        environment=shared_site.environment,
    )


@pytest.mark.parametrize("name", CASES)
def test_an_attack_does_no_harm(server, name):
    found = outcome(CASES[name], Target(("127.0.0.1", server.port)))
    assert found.is_safe, found.text


def test_one_entry_serves_every_coding(server):
    """100 values of Accept-Encoding are one call."""
    found = outcome(CASES["bombs: 100 values of Accept-Encoding"], Target(server.address))
    assert found.text == "made once"


@pytest.mark.parametrize(
    "trust, header, shown",
    [
        ((), "X-Forwarded-Proto: https", "scheme"),
        (("--forwarded-host",), "X-Forwarded-Host: evil.test", "host"),
        (("--forwarded-prefix",), "X-Forwarded-Prefix: /evil", "script"),
    ],
)
def test_what_a_trusted_proxy_says_is_in_the_key(start, site, trust, header, shown):
    server = start("edge_site:app", *trust, "--cache", "4MiB", environment=site.environment)
    target = Target(server.address)
    path = target.cold()
    with_header = seen(target.get(path, header))
    without = seen(target.get(path))
    assert with_header[shown] != without[shown]
    # Both are stored.
    assert seen(target.get(path, header)) == with_header
    assert seen(target.get(path)) == without
