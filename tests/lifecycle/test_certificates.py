"""Certificates: checked at the start and at a reload, watched, and shown to operators."""

import json
import os
import signal
import ssl

import pytest
from harness import eventually, free_port, run
from harness.admin import Admin
from harness.certificates import Client, Handshakes, is_readable_by, live, make, put
from harness.other_user import open_to_others, reachable_python

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the user")
# Looked at every two seconds; the rest is patience with a slow machine.
NOTICED_WITHIN = 5.0 if os.environ.get("CI") is None else 15.0
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Three certificates; the third has an RSA key."""
    directory = tmp_path_factory.mktemp("pairs")
    return [make(directory, "a"), make(directory, "b"), make(directory, "c", key="rsa")]


@pytest.mark.parametrize("command", [(), ("--check-config",)])
@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (
            lambda files: files.certfile.unlink(),
            "lockgate: certfile = {certfile} (from --certfile): cannot be read",
        ),
        (
            lambda files: files.keyfile.unlink(),
            "lockgate: keyfile = {keyfile} (from --keyfile): cannot be read",
        ),
        (
            lambda files: put(b"nonsense", files.certfile),
            "lockgate: certfile = {certfile} (from --certfile): ",
        ),
        (
            lambda files: put(b"nonsense", files.keyfile),
            "lockgate: keyfile = {keyfile} (from --keyfile): ",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error_of_the_configuration(
    tmp_path, pairs, command, damage, expected
):
    files = live(tmp_path, pairs[0])
    damage(files)
    bind = ["-b", f"127.0.0.1:{free_port()}"]
    said = run("hello:app", *bind, *files.arguments, *command)
    assert said.returncode == 2, said
    assert expected.format(certfile=files.certfile, keyfile=files.keyfile) in said.stderr
    assert "Traceback" not in said.stderr


def test_a_key_of_another_certificate_and_a_bad_cipher_are_errors(tmp_path, pairs):
    files = live(tmp_path, pairs[0])
    put(pairs[1].keyfile.read_bytes(), files.keyfile)
    said = run("hello:app", *files.arguments, "--ciphers", "NONSENSE", "--check-config")
    assert said.returncode == 2, said
    assert "ciphers = " in said.stderr and f"keyfile = {files.keyfile}" in said.stderr, "both"


@pytest.mark.slow
@pytest.mark.parametrize("preload", [(), ("--preload",)])
def test_files_replaced_by_renames_are_used_for_new_connections(start, tmp_path, pairs, preload):
    files = live(tmp_path, pairs[0])
    server = start("hello:app", *files.arguments, *preload, workers=2)
    client = Client(server.port, *pairs)
    with Handshakes(client) as stream:
        eventually(lambda: stream.names["a"] >= 20, what="handshakes with the first certificate")
        for pair, name in [(pairs[1], "b"), (pairs[2], "c"), (pairs[0], "a")]:
            before = stream.names.copy()
            files.replace_with(pair)
            eventually(
                lambda name=name, before=before: stream.names[name] > before[name],
                within=NOTICED_WITHIN,
                what=f"the certificate {name}",
            )
            assert names_of_new_connections(client) == {name}, "all workers have it"
    assert stream.failures == []
    assert server.errors.count("certificate loaded: localhost") == 4
    assert "ERROR" not in server.errors


def names_of_new_connections(client, count=20):
    return {client.name() for _ in range(count)}


@pytest.mark.slow
def test_a_link_to_another_directory_replaces_certificate_and_key(start, tmp_path, pairs):
    for name, pair in zip("ab", pairs, strict=False):
        (tmp_path / name).mkdir()
        live(tmp_path / name, pair)
    data = tmp_path / "data"
    data.symlink_to("a")
    files = ["--certfile", str(data / "live.crt"), "--keyfile", str(data / "live.key")]
    server = start("hello:app", *files, workers=2)
    with Handshakes(Client(server.port, *pairs)) as stream:
        eventually(lambda: stream.names["a"] >= 20, what="handshakes with the first certificate")
        (tmp_path / "staged").symlink_to("b")
        (tmp_path / "staged").rename(data)
        eventually(lambda: stream.names["b"] > 0, within=NOTICED_WITHIN, what="the second one")
    assert stream.failures == []


@pytest.mark.slow
def test_a_broken_file_is_logged_once_and_the_old_certificate_stays(start, tmp_path, pairs):
    files = live(tmp_path, pairs[0])
    server = start("hello:app", *files.arguments, workers=2)
    client = Client(server.port, *pairs)
    put(pairs[1].keyfile.read_bytes(), files.keyfile)
    line = server.wait_for_log(r"\[ERROR\].*certificate not replaced: .*", within=30)
    assert f"keyfile = {files.keyfile}" in line and "localhost stays in use" in line
    assert client.name() == "a"
    put(pairs[1].certfile.read_bytes(), files.certfile)
    eventually(lambda: client.name() == "b", within=NOTICED_WITHIN, what="the corrected pair")
    assert server.errors.count("certificate not replaced") == 1


def test_a_reload_with_a_broken_file_is_refused(start, tmp_path, pairs):
    files = live(tmp_path, pairs[0])
    server = start("hello:app", *files.arguments)
    client = Client(server.port, *pairs)
    workers = server.workers()
    put(b"nonsense", files.certfile)
    server.signal(signal.SIGHUP)
    line = server.wait_for_log(r"reload failed: .*")
    assert f"certfile = {files.certfile}" in line
    assert server.workers() == workers and client.name() == "a"
    files.replace_with(pairs[1])
    server.signal(signal.SIGHUP)
    server.wait_for_log(r"reload: done in")
    assert client.name() == "b"


@pytest.mark.slow
def test_a_reload_can_change_which_files_are_used(start, tmp_path, pairs):
    config = tmp_path / "lockgate.toml"

    def configure(pair):
        config.write_text(f'certfile = "{pair.certfile}"\nkeyfile = "{pair.keyfile}"\n')

    configure(pairs[0])
    server = start("hello:app", "--config", str(config), workers=2)
    client = Client(server.port, *pairs)
    with Handshakes(client) as stream:
        for pair, name in [(pairs[1], "b"), (pairs[2], "c")]:
            before = len(server.errors)
            configure(pair)
            server.signal(signal.SIGHUP)
            server.wait_for_log(r"reload: done in", within=20, since=before)
            assert names_of_new_connections(client) == {name}
    assert stream.failures == []


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_each_worker_resumes_the_sessions_of_all_others(start, pairs, version):
    server = start("hello:app", *pairs[0].arguments, workers=4)
    client = Client(server.port, pairs[0], version=version)
    assert not client.resumes()
    attempts = [client.resumes() for _ in range(100)]
    assert attempts.count(True) >= 95


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2])
def test_sessions_are_resumed_after_a_reload_and_after_an_upgrade(start, pairs, version, number):
    server = start("hello:app", *pairs[0].arguments, workers=2)
    client = Client(server.port, pairs[0], version=version)
    client.resumes()
    assert client.resumes()
    server.signal(number)
    server.wait_for_log(r"reload: done in", within=30)
    attempts = [client.resumes() for _ in range(20)]
    assert attempts.count(True) >= 19


@pytest.mark.slow
def test_files_are_watched_after_an_upgrade(start, tmp_path, pairs):
    files = live(tmp_path, pairs[0])
    server = start("hello:app", *files.arguments, workers=2)
    client = Client(server.port, *pairs)
    server.signal(signal.SIGUSR2)
    server.wait_for_log(r"reload: done in", within=30)
    assert client.name() == "a"
    files.replace_with(pairs[1])
    eventually(lambda: client.name() == "b", within=NOTICED_WITHIN, what="the new certificate")


@needs_root
def test_only_the_supervisor_needs_access_to_the_key(start, tmp_path, pairs):
    open_to_others(tmp_path)
    files = live(tmp_path, pairs[0])
    assert not is_readable_by(files.keyfile, 12345)
    user = ["--user", "12345", "--group", "12345"]
    server = start("hello:app", *files.arguments, *user, prefix=reachable_python(tmp_path))
    client = Client(server.port, *pairs)
    assert client.name() == "a"
    files.replace_with(pairs[1])
    eventually(lambda: client.name() == "b", within=NOTICED_WITHIN, what="the new certificate")


@pytest.mark.slow
def test_operators_see_which_certificates_are_in_use(start, tmp_path, pairs):
    files = live(tmp_path, pairs[0])
    admin = Admin(start, tmp_path, "hello:app", *files.arguments)

    def certificates():
        return json.loads(admin.ctl("certificates", "--json").stdout)["certificates"]

    (shown,) = certificates()
    assert shown["names"] == ["localhost"] and shown["source"] == str(files.certfile)
    assert shown["issuer"] == "CN=a" and shown["expires_in_days"] in (29, 30)
    assert admin.status()["certificates"] == [shown]
    table = admin.ctl("certificates").stdout
    assert "names    localhost\n" in table and "issuer   CN=a\n" in table, table
    labels = f'{{name="localhost",source="{files.certfile}"}}'
    sample = f"lockgate_certificate_expiry_timestamp_seconds{labels}"
    assert admin.samples()[sample] == shown["not_after"]
    files.replace_with(pairs[2])
    eventually(
        lambda: [one["issuer"] for one in certificates()] == ["CN=c"],
        within=NOTICED_WITHIN,
        what="the new certificate in the answer",
    )
    assert certificates()[0]["key"] == "RSA"


def test_without_tls_there_is_no_certificate(start, tmp_path):
    admin = Admin(start, tmp_path, "hello:app")
    assert admin.status()["certificates"] == []
    assert admin.ctl("certificates").stdout == "the server presents no certificate\n"
    assert "certificate" not in admin.ctl("metrics").stdout


def test_a_certificate_for_localhost_is_kept_over_a_restart(start, tmp_path):
    arguments = ["--domain", "localhost", "--acme-dir", str(tmp_path / "acme")]
    certificates = []
    for _ in range(2):
        server = start("hello:app", *arguments)
        certificates.append(Client(server.port).certificate())
        assert "certificate signed by this server itself: localhost" in server.errors
        assert server.stop() == 0
    assert certificates[0] == certificates[1]
    (kept,) = (tmp_path / "acme/self-signed").iterdir()
    assert kept.stat().st_mode & 0o077 == 0
