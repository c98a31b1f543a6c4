"""The redirect from http to https, and Strict-Transport-Security."""

import pytest
from harness import free_port, request
from harness.authority import over_tls


@pytest.fixture(scope="module")
def site(shared, tmp_path_factory):
    """A site with a domain, whose second address is plain."""
    port, directory = free_port(), tmp_path_factory.mktemp("acme")
    server = shared(
        "hello:app", "--domain", "localhost,127.0.0.1", "--acme-dir", str(directory),
        bind=[f"http://127.0.0.1:{port}", f"https://127.0.0.1:{port + 1}"],
    )  # fmt: skip
    server.address = ("127.0.0.1", port)
    server.port = port
    return server


def redirected(server, target, host, *headers, method="GET"):
    data = request(method, target, *headers, "Connection: close", host=host)
    response = server.exchange(data, method)
    return response.status, response.header("Location")


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
def test_requests_without_tls_are_redirected_to_the_same_url(site, method):
    there = f"https://localhost:{site.port + 1}/a%20b?c=d&e=%2F"
    asked = redirected(site, "/a%20b?c=d&e=%2F", f"localhost:{site.port}", method=method)
    assert asked == (308, there)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", 308),
        ("LOCALHOST", 308),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("localhost@evil.example", 400),
    ],
)
def test_only_hosts_of_this_site_are_redirected(site, host, expected):
    status, location = redirected(site, "/", host)
    assert status == expected
    assert (location is None) == (status != 308)


def test_an_absolute_target_decides_the_host(site):
    status, location = redirected(site, "http://localhost/x", "evil.example")
    assert (status, location) == (308, f"https://localhost:{site.port + 1}/x")


def test_what_a_trusted_proxy_calls_https_is_served(site):
    assert redirected(site, "/", "localhost", "X-Forwarded-Proto: https") == (200, None)


def test_challenges_of_certificate_authorities_are_not_redirected(site):
    status, location = redirected(site, "/.well-known/acme-challenge/token", "localhost")
    assert location is None and status in (200, 404)


@pytest.mark.parametrize("rest", ["", "../a", "a/b", "%2e%2e/a", "a.b"])
def test_only_the_path_of_a_token_is_one_of_a_challenge(site, rest):
    status, _ = redirected(site, f"/.well-known/acme-challenge/{rest}", "localhost")
    assert status == 308


def test_with_certificates_from_files_it_is_off_until_it_is_asked_for(start, certificate):
    port = free_port()
    bind = [f"http://127.0.0.1:{port}", f"https://127.0.0.1:{port + 1}"]
    server = start("hello:app", *certificate, bind=bind)
    server.address = ("127.0.0.1", port)
    assert redirected(server, "/", "a.example") == (200, None)
    server = start("hello:app", *certificate, "--https-redirect", bind=[
        f"http://127.0.0.1:{port + 2}", f"https://127.0.0.1:{port + 3}"
    ])  # fmt: skip
    server.address = ("127.0.0.1", port + 2)
    assert redirected(server, "/", "a.example") == (308, f"https://a.example:{port + 3}/")


def test_the_port_that_clients_see_may_be_another_one(start, tmp_path, certificate):
    port = free_port()
    (tmp_path / "settings.toml").write_text("https_redirect = 443\n")
    server = start(
        "hello:app", *certificate, "-c", str(tmp_path / "settings.toml"),
        bind=[f"http://127.0.0.1:{port}", f"https://127.0.0.1:{port + 1}"],
    )  # fmt: skip
    server.address = ("127.0.0.1", port)
    assert redirected(server, "/x", "a.example") == (308, "https://a.example/x")


def test_hsts_is_added_to_responses_over_tls_only(start, authority, certificate):
    port = free_port()
    bind = [f"http://127.0.0.1:{port}", f"https://127.0.0.1:{port + 1}"]
    server = start("hello:app", *certificate, "--hsts", "600", bind=bind)
    server.address = ("127.0.0.1", port)
    assert server.get("/").header("Strict-Transport-Security") is None
    server.address = ("127.0.0.1", port + 1)
    response = over_tls(server, authority.client())
    assert response.header("Strict-Transport-Security") == "max-age=600"
