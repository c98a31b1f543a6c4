"""Client identity: headers of trusted proxies count, and those of other peers do not."""

import json
import socket
import struct

import pytest
from harness import Wire, eventually, request

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
GET = request("GET", "/environ", "Connection: close")


def ask(server, *headers, target="/environ"):
    """The response to one request from 127.0.0.1."""
    return server.get(target, *headers)


def reported(server, *headers, target="/environ"):
    """Address, port and scheme that the application sees."""
    environ = json.loads(ask(server, *headers, target=target).body)
    return environ["REMOTE_ADDR"], environ["REMOTE_PORT"], environ["wsgi.url_scheme"]


def connect_from(server, address):
    """A connection from another address of this machine."""
    wire = Wire.__new__(Wire)
    wire.socket = socket.create_connection(server.address, 15, (address, 0))
    wire.pending, wire.was_reset = b"", False
    return wire


def binary(command, family, payload, more=b""):
    payload += more
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", len(payload)) + payload


def over_ipv4(source, destination, ports=(4711, 80)):
    ends = socket.inet_aton(source) + socket.inet_aton(destination)
    return ends + struct.pack("!HH", *ports)


@pytest.fixture(scope="module")
def defaults(shared):
    return shared("protocol:app")


@pytest.fixture(scope="module")
def chain(shared):
    """Proxies in a row, some of them on other networks."""
    allowed = "127.0.0.1,::1,10.0.0.0/8,fd00::/8"
    return shared("protocol:app", "--forwarded-allow-ips", allowed)


@pytest.fixture(scope="module")
def behind_balancer(shared):
    return shared(
        "protocol:app",
        "--proxy-protocol",
        "--forwarded-allow-ips",
        "10.0.0.1",
        "--head-timeout",
        "2",
    )


@pytest.mark.parametrize(
    ("value", "address", "port"),
    [
        ("192.0.2.1", "192.0.2.1", ""),
        ("192.0.2.1:4711", "192.0.2.1", "4711"),
        ("6.6.6.6, 192.0.2.1, 10.1.2.3, fd00::7", "192.0.2.1", ""),
        ("10.1.2.3, 192.0.2.1", "192.0.2.1", ""),
        ("2001:db8::1, 10.0.0.1:80", "2001:db8::1", ""),
        ("[2001:db8::1]:81", "2001:db8::1", "81"),
        ("::ffff:192.0.2.1", "192.0.2.1", ""),
        ("6.6.6.6, unknown, 10.0.0.1", "10.0.0.1", ""),
        ("6.6.6.6, 192.0.2.1.5, 10.0.0.1", "10.0.0.1", ""),
        ("10.0.0.1, 10.0.0.2", "10.0.0.1", ""),
        (", ".join(["192.0.2.1", *["10.0.0.1"] * 700]), "192.0.2.1", ""),
    ],
)
def test_the_first_untrusted_hop_from_the_right_is_the_client(chain, value, address, port):
    assert reported(chain, f"X-Forwarded-For: {value}") == (address, port, "http")


def test_a_thousand_hops_in_several_lines_are_walked(shared):
    server = shared("protocol:app", "--forwarded-allow-ips", "127.0.0.1,10.0.0.0/8")
    hops = ["X-Forwarded-For: " + ",".join(["10.0.0.1"] * 100)] * 10
    assert reported(server, "X-Forwarded-For: 6.6.6.6, 192.0.2.1", *hops)[0] == "192.0.2.1"
    assert reported(server, *hops)[0] == "10.0.0.1"


@pytest.mark.parametrize("value", ["unknown", "_hidden", "localhost", "1.2.3.4.5", "", "999.1.1.1"])
def test_an_unparsable_hop_keeps_the_address_of_the_peer(defaults, value):
    assert reported(defaults, f"X-Forwarded-For: 6.6.6.6, {value or '?'}")[0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("value", "address", "port", "scheme"),
    [
        ("for=192.0.2.60;proto=https;by=203.0.113.43", "192.0.2.60", "", "https"),
        ('For="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17", "4711", "http"),
        ('for=6.6.6.6;proto=http, for="192.0.2.1:8";PROTO=HTTPS, for=10.0.0.1;proto=http',
         "192.0.2.1", "8", "https"),
        ('for="6.6.6.6, for=192.0.2.1', "192.0.2.1", "", "http"),
        ('for=6.6.6.6;x="a, b", for=192.0.2.1;x="c, d"', "192.0.2.1", "", "http"),
        ("for=6.6.6.6, for=unknown;proto=https", "127.0.0.1", None, "https"),
        ("for=6.6.6.6, for=_SEVKISEK", "127.0.0.1", None, "http"),
        ("for=192.0.2.1;proto=gopher", "192.0.2.1", "", "http"),
    ],
)  # fmt: skip
def test_forwarded_is_read_as_the_rfc_writes_it(chain, value, address, port, scheme):
    found = reported(chain, f"Forwarded: {value}")
    assert found == (address, found[1] if port is None else port, scheme)


def test_forwarded_has_no_power_beside_x_forwarded_headers(defaults, start):
    both = ("Forwarded: for=6.6.6.6;proto=https", "X-Forwarded-For: 192.0.2.1")
    assert reported(defaults, *both) == ("192.0.2.1", "", "http")
    only = start("protocol:app", "--forwarded-headers", "forwarded")
    assert reported(only, *both) == ("6.6.6.6", "", "https")
    none = start("protocol:app", "--forwarded-headers", "off")
    address, _, scheme = reported(none, *both, "X-Forwarded-Proto: https")
    assert (address, scheme) == ("127.0.0.1", "https")


@pytest.mark.parametrize(
    ("headers", "scheme"),
    [
        (["X-Forwarded-Proto: https"], "https"),
        (["X-Forwarded-Proto: http"], "http"),
        (["X-Forwarded-Proto: javascript"], "http"),
        (["X-Forwarded-Proto: http, https"], "https"),
        (["X-Forwarded-Protocol: ssl"], "https"),
        (["X-Forwarded-Ssl: on", "X-Forwarded-Proto: https"], "https"),
        (["X-Forwarded-Ssl: off"], "http"),
    ],
)
def test_scheme_headers_of_a_trusted_peer_decide_the_scheme(defaults, headers, scheme):
    assert reported(defaults, *headers)[2] == scheme


def test_an_https_target_over_plain_http_is_for_trusted_gateways_only(start):
    server = start("protocol:app", "--forwarded-allow-ips", "127.0.0.2")
    secure, plain = "https://lockgate.test/environ", "http://lockgate.test/environ"
    proto = "X-Forwarded-Proto: "
    cases = [
        ("127.0.0.1", secure, [], 421, None),
        ("127.0.0.1", secure.upper(), [], 421, None),
        ("127.0.0.1", secure, [proto + "https"], 421, None),
        ("127.0.0.1", plain, [], 200, "http"),
        ("127.0.0.2", secure, [], 200, "http"),
        ("127.0.0.2", secure, [proto + "https"], 200, "https"),
        ("127.0.0.2", secure, [proto + "http"], 200, "http"),
        ("127.0.0.2", plain, [proto + "https"], 200, "https"),
    ]
    for address, target, headers, status, scheme in cases:
        with connect_from(server, address) as wire:
            wire.send(request("GET", target, *headers, "Connection: close"))
            response = wire.response()
            assert response.status == status, (address, target, headers)
            if scheme:
                assert json.loads(response.body)["wsgi.url_scheme"] == scheme


@pytest.mark.parametrize("scheme", ["http", "gopher", "wss", ""])
def test_contradictory_schemes_are_refused_and_named(defaults, scheme):
    response = ask(defaults, "X-Forwarded-Ssl: on", f"X-Forwarded-Proto: {scheme}")
    assert response.status == 400
    assert b"the scheme headers of the proxy contradict each other" in response.body


REFUSED = [
    (
        ("X-Forwarded-Ssl: on", "X-Forwarded-Proto: hidden"),
        r"400: the scheme headers of the proxy contradict each other; "
        r"header X-Forwarded-Proto with a value of 6 bytes; see secure_scheme_headers",
    ),
    (
        ("SCRIPT_NAME: /hidden",),
        r"400: the path does not begin with the proxy's SCRIPT_NAME; "
        r"header SCRIPT_NAME with a value of 7 bytes; see forwarder_headers",
    ),
    (
        ("X-Forwarded-Host: hidden/",),
        r"400: the forwarded host is not .*; "
        r"header X-Forwarded-Host with a value of 7 bytes; see forwarded_host",
    ),
    (
        ("PATH_INFO: hidden", "path-info: hidden"),
        r"400: two field names differ .*; "
        r"header PATH_INFO with a value of 6 bytes; see forwarder_headers",
    ),
    (
        ("X_Hidden: hidden",),
        r"400: a field name has an underscore; "
        r"header X_Hidden with a value of 6 bytes; see header_map",
    ),
    (
        ("Cookie: " + "hidden" * 2000,),
        r"431: a field line is too long \(limit 8190 bytes\); "
        r"header Cookie; see limit_request_field_size",
    ),
    (("X-A: hidden",) * 200, r"431: too many field lines \(limit 100\); see limit_request_fields"),
    (
        ("Content-Length: 9999999999",),
        r"413: the request body is too large \(limit 1073741824 bytes\); "
        r"see limit_request_body, or max_body of its route",
    ),
    (
        ("Host: hidden",),
        r"400: more than one Host; header Host with a value of 6 bytes",
    ),
]


def test_a_refusal_that_an_operator_can_change_is_warned_of(shared):
    server = shared("protocol:app", "--forwarded-host", "--header-map", "refuse")
    for headers, warned in REFUSED:
        start = len(server.errors)
        with server.connect() as wire:
            wire.send_while_open(request("GET", "/environ", *headers))
            wire.response()
        pattern = rf"WARNING\] refused a request from trusted proxy 127\.0\.0\.1 with {warned}\n"
        server.wait_for_log(pattern, since=start)
    with server.connect() as wire:
        wire.send_while_open(request("GET", "/" + "hidden" * 2000))
        assert wire.response().status == 414
    server.wait_for_log(r"with 414: the request line is too long .*; see limit_request_line\n")
    assert "hidden" not in server.errors.replace("X_Hidden", "")


def test_the_same_refusal_is_warned_of_once_and_then_counted(start):
    server = start("protocol:app", "--forwarded-allow-ips", "127.0.0.2")
    for _ in range(20):
        assert server.get("/" + "a" * 9000).status == 414
        # Nothing that an operator can change: the client is not a trusted proxy.
        assert server.exchange(request("GET", "/", host=None)).status == 400
    with connect_from(server, "127.0.0.2") as wire:
        wire.send(request("GET", "/", host=None))
        assert wire.response().status == 400
    server.wait_for_log("with 400: Host is missing")
    assert server.errors.count("refused a request from 127.0.0.1 with 414") == 1
    assert server.errors.count("refused a request") == 2


def test_other_scheme_headers_can_be_named(start, tmp_path):
    (tmp_path / "lockgate.toml").write_text(
        'secure_scheme_headers = { CloudFront-Forwarded-Proto = "https" }\n'
    )
    server = start("protocol:app", "-c", str(tmp_path / "lockgate.toml"))
    assert reported(server, "CloudFront-Forwarded-Proto: https")[2] == "https"
    assert reported(server, "X-Forwarded-Proto: https")[2] == "http"


SPOOFS = [
    "X-Forwarded-For: 10.0.0.1",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: evil.test",
    "X-Forwarded-Anything: x",
    "Forwarded: for=10.0.0.1;proto=https;host=evil.test",
    "X-Real-IP: 10.0.0.1",
]


def test_headers_of_an_untrusted_peer_have_no_effect_and_do_not_reach_the_application(start):
    server = start("protocol:app", "--forwarded-allow-ips", "10.0.0.0/8")
    environ = json.loads(ask(server, *SPOOFS, "X-Kept: yes", "SCRIPT_NAME: /environ").body)
    assert environ["REMOTE_ADDR"] == "127.0.0.1"
    assert environ["wsgi.url_scheme"] == "http"
    assert environ["HTTP_HOST"] == "lockgate.test"
    assert environ["HTTP_X_KEPT"] == "yes"
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("", "/environ")
    left = [
        key for key in environ if "FORWARDED" in key or "REAL_IP" in key or "HTTP_SCRIPT" in key
    ]
    assert left == []
    server.wait_for_log(
        r"removed forwarding headers .* sent by 127\.0\.0\.1, which is not in forwarded"
    )
    ask(server, *SPOOFS)
    assert server.errors.count("removed forwarding headers") == 1


def test_headers_of_an_untrusted_peer_reach_the_application_if_allowed_and_have_no_effect(start):
    server = start(
        "protocol:app", "--forwarded-allow-ips", "10.0.0.1", "--no-strip-untrusted-headers"
    )
    environ = json.loads(ask(server, *SPOOFS).body)
    assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == ("127.0.0.1", "http")
    assert environ["HTTP_X_FORWARDED_FOR"] == "10.0.0.1"


def test_trust_is_a_matter_of_the_connection_not_of_the_server(defaults):
    for address, expected in [("127.0.0.1", "192.0.2.1"), ("127.0.0.2", "127.0.0.2")]:
        with connect_from(defaults, address) as wire:
            wire.send(request("GET", "/environ", "X-Forwarded-For: 192.0.2.1"))
            environ = json.loads(wire.response().body)
        assert environ["REMOTE_ADDR"] == expected


def test_an_asterisk_trusts_every_peer_but_no_hop(start):
    for allowed in ("*", "0.0.0.0/0"):
        server = start("protocol:app", "--forwarded-allow-ips", allowed)
        assert reported(server, "X-Forwarded-For: 6.6.6.6, 192.0.2.1")[0] == "192.0.2.1"


def test_gunicorns_variable_names_the_trusted(start):
    server = start("protocol:app", environment={"FORWARDED_ALLOW_IPS": "10.0.0.1"})
    assert reported(server, "X-Forwarded-For: 192.0.2.1")[0] == "127.0.0.1"


def test_a_peer_on_a_unix_socket_is_trusted(start, tmp_path):
    path = tmp_path / "socket"
    server = start("protocol:app", bind=[f"unix:{path}"])
    with Wire(str(path)) as wire:
        wire.send(
            request("GET", "/environ", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https")
        )
        environ = json.loads(wire.response().body)
        assert environ["REMOTE_ADDR"] == "192.0.2.1"
        assert (environ["wsgi.url_scheme"], environ["SERVER_PORT"]) == ("https", "443")
        wire.send(GET)
        assert json.loads(wire.response().body)["REMOTE_ADDR"] == ""
    assert server.process.poll() is None


def test_each_request_of_a_connection_has_its_own_client(defaults):
    with defaults.connect() as wire:
        for address in ["192.0.2.1", "192.0.2.1", "192.0.2.2", None, "192.0.2.2"]:
            headers = [f"X-Forwarded-For: {address}"] if address else []
            wire.send(request("GET", "/environ", *headers))
            environ = json.loads(wire.response().body)
            assert environ["REMOTE_ADDR"] == (address or "127.0.0.1")
            assert environ["REMOTE_PORT"] == ("" if address else str(wire.socket.getsockname()[1]))


def test_the_access_log_shows_the_client(start, tmp_path):
    path = tmp_path / "access.log"
    server = start(
        "protocol:app", "--access-logfile", str(path), "--access-logformat", "%(h)s %(r)s"
    )
    ask(server, "X-Forwarded-For: 192.0.2.1")
    ask(server, "X-Forwarded-Ssl: on", "X-Forwarded-Proto: http")
    ask(server)
    lines = eventually(
        lambda: found if len(found := path.read_text().splitlines()) == 3 else None, what="3 lines"
    )
    line = "GET /environ HTTP/1.1"
    assert lines == [f"192.0.2.1 {line}", f"127.0.0.1 {line}", f"127.0.0.1 {line}"]


def test_the_forwarded_host_counts_only_where_that_is_asked_for(defaults, start):
    headers = ("X-Forwarded-Host: lie.test, shop.test:8443", "X-Forwarded-Proto: https")
    assert json.loads(ask(defaults, *headers).body)["HTTP_HOST"] == "lockgate.test"
    server = start("protocol:app", "--forwarded-host")
    assert json.loads(ask(server, *headers).body)["HTTP_HOST"] == "shop.test:8443"
    environ = json.loads(ask(server, "Forwarded: for=192.0.2.1;host=shop.test").body)
    assert environ["HTTP_HOST"] == "shop.test"
    assert ask(server, "X-Forwarded-Host: a/b").status == 400


def test_script_name_of_a_trusted_peer_mounts_the_application(defaults):
    environ = json.loads(ask(defaults, "SCRIPT_NAME: /shop", target="/shop/environ?a").body)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/shop", "/environ")
    assert environ["RAW_URI"] == "/shop/environ?a"
    environ = json.loads(ask(defaults, "Script_Name: /b%20c/", target="/b%20c/environ").body)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/b c", "/environ")
    assert ask(defaults, "SCRIPT_NAME: /sho", target="/shop/environ").status == 400


def test_underscores_are_dropped_allowed_or_refused_and_never_merged(defaults, start):
    environ = json.loads(ask(defaults, "X_Role: admin", "X-Role: user").body)
    assert environ["HTTP_X_ROLE"] == "user"
    defaults.wait_for_log("Dropped request header X_Role")
    server = start("protocol:app", "--forwarder-headers", "SCRIPT_NAME,REMOTE_USER")
    environ = json.loads(ask(server, "REMOTE_USER: me", "Other_Name: x").body)
    assert environ["HTTP_REMOTE_USER"] == "me"
    assert "HTTP_OTHER_NAME" not in environ
    server.wait_for_log("Dropped request header Other_Name")
    assert "header REMOTE_USER" not in server.errors
    for pair in [("REMOTE_USER: me", "Remote-User: you"), ("REMOTE_USER: me", "remote_user: you")]:
        for headers in (pair, pair[::-1]):
            assert ask(server, *headers).status == 400
    with connect_from(server, "127.0.0.2") as wire:
        wire.send(request("GET", "/environ", "REMOTE_USER: root", "Remote-User: you"))
        assert json.loads(wire.response().body)["HTTP_REMOTE_USER"] == "you"
    strict = start("protocol:app", "--header-map", "refuse")
    assert ask(strict, "X_Role: admin").status == 400
    with connect_from(strict, "127.0.0.2") as wire:
        wire.send(request("GET", "/environ", "SCRIPT_NAME: /environ"))
        assert wire.response().status == 400


def environ_behind(server, *pieces):
    """What the application sees when the connection begins with these pieces."""
    with server.connect() as wire:
        for piece in pieces:
            wire.send(piece)
        response = wire.response()
        assert response.status == 200, response
        return json.loads(response.body)


V1 = b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n"
V2 = binary(0x21, 0x11, over_ipv4("192.0.2.1", "198.51.100.2", (4711, 443)))


@pytest.mark.parametrize("header", [V1, V2, V2[:14] + b"\x00\x20" + V2[16:] + b"\xff" * 20])
def test_a_proxy_header_names_the_client_and_its_other_end(behind_balancer, header):
    environ = environ_behind(behind_balancer, header + GET)
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("192.0.2.1", "4711")
    assert environ["PROXY_PROTOCOL"] == "TCP4"
    assert (environ["PROXY_ADDR"], environ["PROXY_PORT"]) == ("198.51.100.2", "443")
    assert environ["SERVER_PORT"] == str(behind_balancer.port)


@pytest.mark.parametrize("header", [V1, V2])
def test_a_proxy_header_may_be_cut_at_every_byte(behind_balancer, header):
    whole = header + GET
    for at in range(1, len(header) + 2):
        environ = environ_behind(behind_balancer, whole[:at], whole[at:])
        assert environ["REMOTE_ADDR"] == "192.0.2.1", at
    environ = environ_behind(behind_balancer, *[whole[i : i + 1] for i in range(len(whole))])
    assert environ["REMOTE_ADDR"] == "192.0.2.1"


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n",
        binary(0x20, 0x00, b""),
        binary(0x20, 0x11, over_ipv4("192.0.2.1", "192.0.2.2")),
        binary(0x21, 0x00, b"", b"\x04\x00\x01x"),
    ],
)
def test_a_proxys_own_connection_keeps_its_own_address(behind_balancer, header):
    environ = environ_behind(behind_balancer, header + GET)
    assert environ["REMOTE_ADDR"] == "127.0.0.1"
    assert "PROXY_ADDR" not in environ


def test_clients_over_ipv6_and_unix_sockets_are_forwarded(behind_balancer):
    environ = environ_behind(behind_balancer, b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n" + GET)
    assert (environ["REMOTE_ADDR"], environ["PROXY_PROTOCOL"]) == ("2001:db8::1", "TCP6")
    payload = socket.inet_pton(socket.AF_INET6, "2001:db8::1") * 2 + struct.pack("!HH", 5, 6)
    environ = environ_behind(behind_balancer, binary(0x21, 0x21, payload) + GET)
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("2001:db8::1", "5")
    spoof = request("GET", "/environ", "X-Forwarded-For: 6.6.6.6", "Connection: close")
    environ = environ_behind(behind_balancer, binary(0x21, 0x31, b"/" * 216) + spoof)
    assert environ["REMOTE_ADDR"] == ""


def test_headers_behind_a_proxy_header_are_judged_by_the_address_that_it_names(behind_balancer):
    spoof = request("GET", "/environ", "X-Forwarded-For: 6.6.6.6", "Connection: close")
    assert environ_behind(behind_balancer, V1 + spoof)["REMOTE_ADDR"] == "192.0.2.1"
    trusted = b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n"
    environ = environ_behind(behind_balancer, trusted + spoof)
    assert (environ["REMOTE_ADDR"], environ["PROXY_ADDR"]) == ("6.6.6.6", "10.0.0.2")


def test_a_proxy_header_is_for_the_whole_connection_and_there_is_only_one(behind_balancer):
    keep = request("GET", "/environ")
    with behind_balancer.connect() as wire:
        wire.send(V1 + keep + keep)
        for _ in range(2):
            assert json.loads(wire.response().body)["REMOTE_ADDR"] == "192.0.2.1"
        wire.send(V1 + keep)
        assert wire.response().status == 400
        wire.rest()
    for second in (V1, V2):
        with behind_balancer.connect() as wire:
            wire.send(V1 + second + GET)
            assert wire.response().status == 400
            wire.rest()


@pytest.mark.parametrize(
    ("start_of_connection", "status"),
    [
        (GET, 400),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 4711\r\n" + GET, 400),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 0443\r\n" + GET, 400),
        (b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n" + GET, 400),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\n" + GET, 400),
        (b"\r\n" + GET, None),
        (binary(0x21, 0x11, b"short") + GET, None),
        (binary(0x22, 0x11, b"\0" * 12) + GET, None),
        (binary(0x21, 0x12, b"\0" * 12) + GET, None),
        (binary(0x21, 0x11, b"\0" * 12, b"\0" * 4085) + GET, None),
        (b"\x16\x03\x01\x02\x00\x01", None),
    ],
)
def test_a_connection_that_does_not_begin_so_is_refused(
    behind_balancer, start_of_connection, status
):
    with behind_balancer.connect() as wire:
        wire.send_while_open(start_of_connection)
        if status is None:
            assert wire.rest() == b""
        else:
            assert wire.response().status == status
            wire.expect_close()
    behind_balancer.wait_for_log(r"refused a connection from 127\.0\.0\.1: it")
    assert environ_behind(behind_balancer, V1 + GET)["REMOTE_ADDR"] == "192.0.2.1"


def test_a_peer_that_may_not_send_the_proxy_protocol_is_refused_and_logged(start):
    server = start("protocol:app", "--proxy-protocol", "v2", "--proxy-allow-from", "127.0.0.3")
    with server.connect() as wire:
        wire.send(V2 + GET)
        assert wire.rest() == b""
    server.wait_for_log(r"refused a connection from 127\.0\.0\.1: it is not in proxy_allow_ips")
    with server.connect() as wire:
        wire.send(GET)
        assert wire.response().status == 403
    with connect_from(server, "127.0.0.3") as wire:
        wire.send(V2 + GET)
        assert json.loads(wire.response().body)["REMOTE_ADDR"] == "192.0.2.1"


def test_lines_about_refused_connections_do_not_fill_the_log(start):
    server = start("protocol:app", "--proxy-protocol")
    for _ in range(50):
        assert server.exchange(GET).status == 400
    server.wait_for_log("does not begin with a PROXY header")
    assert server.errors.count("refused a connection") < 25


def test_a_proxy_header_that_does_not_come_ends_with_the_head_timeout(behind_balancer):
    for piece in (b"", V1[:20], V2[:20]):
        with behind_balancer.connect() as wire:
            wire.send(piece)
            assert wire.rest() == b""


def test_without_the_setting_a_proxy_header_is_malformed_http(defaults):
    for header in (V1, V2):
        with defaults.connect() as wire:
            wire.send(header + GET)
            assert wire.response().status == 400
            wire.rest()


def mounted(response):
    assert response.status == 200, response
    environ = json.loads(response.body)
    return environ["SCRIPT_NAME"], environ["PATH_INFO"]


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/shop/cart", "/cart"),
        ("/shop/", "/"),
        ("/shop", ""),
        ("/sh%6Fp/a%20b", "/a b"),
        ("http://lockgate.test/shop/cart", "/cart"),
        ("/shop/shop/cart", "/shop/cart"),
        # Cut by the proxy, or a request that has not come through it.
        ("/cart", "/cart"),
        ("/", "/"),
        ("/shopping", "/shopping"),
        ("/Shop/cart", "/Shop/cart"),
        ("/other/shop/cart", "/other/shop/cart"),
    ],
)
def test_root_path_is_script_name_and_cut_off_where_the_path_has_it(shared, target, path):
    server = shared("environment:app", "--root-path", "/shop/")
    assert mounted(server.get(target)) == ("/shop", path)


def test_a_root_path_is_text_or_percent_encoded(shared):
    for root in ("/caf\xe9", "/caf%C3%A9"):
        server = shared("environment:app", "--root-path", root)
        assert mounted(server.get("/caf%C3%A9/x")) == ("/caf\xc3\xa9", "/x")


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        ((), {"SCRIPT_NAME": "/shop"}),
        (("-e", "SCRIPT_NAME=/shop"), {}),
        (("-e", "SCRIPT_NAME=/shop"), {"SCRIPT_NAME": "/other"}),
        (("--root-path", "/shop", "-e", "SCRIPT_NAME=/other"), {}),
        ((), {"LOCKGATE_ROOT_PATH": "/shop", "SCRIPT_NAME": "/other"}),
    ],
)
def test_the_variable_script_name_mounts_the_application_as_with_gunicorn(
    start, arguments, environment
):
    server = start("environment:app", *arguments, environment=environment)
    assert mounted(server.get("/shop/cart")) == ("/shop", "/cart")
    # Another program's variable would surprise; what was written for Lockgate does not.
    is_from_process = not arguments and "LOCKGATE_ROOT_PATH" not in environment
    warning = "the application is mounted at /shop because the environment has SCRIPT_NAME=/shop"
    assert (warning in server.errors) == is_from_process


def test_the_prefix_of_a_trusted_proxy_replaces_root_path(start):
    server = start("environment:app", "--root-path", "/shop", "--forwarded-prefix",
                   "--forwarded-allow-ips", "127.0.0.1")  # fmt: skip
    prefix = "X-Forwarded-Prefix: "
    assert mounted(server.get("/new/cart", prefix + "/new")) == ("/new", "/cart")
    assert mounted(server.get("/cart", prefix + "/old, /new/")) == ("/new", "/cart")
    assert mounted(server.get("/shop/cart", prefix + "/new")) == ("/new", "/shop/cart")
    assert mounted(server.get("/shop/cart", prefix + "/")) == ("/shop", "/cart")
    named = server.get("/app/cart", prefix + "/new", "SCRIPT_NAME: /app")
    assert mounted(named) == ("/app", "/cart")
    for wrong in ("//evil.test", "/\\evil.test", "/%2f/evil.test", "evil", "https://evil.test"):
        assert server.get("/cart", prefix + wrong).status == 400, wrong
    server.wait_for_log(r"400: the forwarded prefix is not .*; see forwarded_prefix")
    # Nothing of one request is left in the next, and no other peer is trusted.
    assert mounted(server.get("/shop/cart")) == ("/shop", "/cart")
    with connect_from(server, "127.0.0.2") as wire:
        wire.send(request("GET", "/new/cart", prefix + "/new", "Connection: close"))
        assert mounted(wire.response()) == ("/shop", "/new/cart")


def test_a_forwarded_prefix_counts_only_where_that_is_wanted(defaults):
    environ = json.loads(ask(defaults, "X-Forwarded-Prefix: /shop").body)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("", "/environ")
    assert environ["HTTP_X_FORWARDED_PREFIX"] == "/shop"


@pytest.mark.parametrize("name", ["X-Forwarded-Port", "X-Forwarded-User", "X-Forwarded-Head"])
def test_another_header_as_long_as_x_forwarded_host_does_not_set_the_host(shared, name):
    server = shared("protocol:app", "--forwarded-host")
    response = ask(server, "X-Forwarded-Host: real.test", f"{name}: other.test")
    assert json.loads(response.body)["HTTP_HOST"] == "real.test"
