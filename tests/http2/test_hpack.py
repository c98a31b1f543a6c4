"""RFC 7541 over a socket: a block that cannot be decoded ends the connection, any other is read."""

import pytest
from harness.http2 import COMPRESSION_ERROR, GET, Http2, block, headers, settings
from harness.http2_rules import connection_error, get, goes_on
from harness.samples import CORPUS
from hpack import Encoder

INVALID = sorted((CORPUS / "http2/hpack/invalid").glob("*.hpack"))


def blocks_of(path):
    _, _, lines = path.read_text("ascii").partition("---\n")
    return [bytes.fromhex(line) for line in lines.splitlines()]


def test_the_corpus_is_there():
    if not INVALID:
        pytest.skip("no corpus beside these tests")
    assert len(INVALID) >= 38


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_an_invalid_block_is_a_compression_error(server, path):
    """The blocks before the last one are valid, though they are no requests."""
    with Http2(server.address) as client:
        client.settled()
        for stream, each in enumerate(blocks_of(path)):
            client.send(headers(2 * stream + 1, each))
        connection_error(COMPRESSION_ERROR)(client)


@pytest.mark.parametrize("pattern", [0x00, 0x10, 0x40])
def test_6_2_each_kind_of_literal_is_read(server, pattern):
    with Http2(server.address) as client:
        client.send(headers(1, block(GET, pattern)))
        assert client.response(1).body == b"GET / "
        goes_on(client)


@pytest.mark.parametrize("is_huffman", [False, True])
def test_requests_of_an_encoder_with_a_table_are_read(server, is_huffman):
    encoder = Encoder()
    with Http2(server.address) as client:
        for number in range(60):
            path = b"/%d/%s" % (number % 7, b"p" * (number * 11 % 300))
            fields = [*get(path), (b"x-%d" % (number % 5), b"v" * (number * 37 % 900))]
            if number % 20 == 19:
                encoder.header_table_size = 4096 - 50 * number
            stream = 2 * number + 1
            client.send(headers(stream, encoder.encode(fields, huffman=is_huffman)))
            assert client.response(stream).body == b"GET " + path + b" "
        goes_on(client)


@pytest.mark.parametrize("prefix", [b"\x20", b"\x3f\xe1\x1f", b"\x20\x3f\xe1\x1f"])
def test_6_3_a_table_size_update_before_the_fields_is_read(server, prefix):
    with Http2(server.address) as client:
        client.send(headers(1, prefix + block(GET)))
        assert client.response(1).body == b"GET / "
        goes_on(client)


def test_4_2_a_smaller_table_of_the_client_is_respected(server):
    """The client's decoder refuses a block that does not begin with the update that is due."""
    with Http2(server.address, settings((1, 0))) as client:
        client.settled()
        for stream in (1, 3):
            assert client.request(stream).status == 200


def test_2_2_the_table_outlives_a_malformed_request(server):
    with Http2(server.address) as client:
        fields = (*get(b"/kept"), (b"x", b"y"))
        client.send(headers(1, block((*fields, (b"Upper", b"case")), 0x40)))
        client.wait(lambda: client.streams[1].reset is not None, "RST_STREAM")
        # "Upper" is the newest of 6.
        client.send(headers(3, b"\xc3\xc2\xc1\xc0\xbf"))
        assert client.response(3).body == b"GET /kept "


def test_2_2_the_table_outlives_a_head_that_is_too_large(server):
    with Http2(server.address) as client:
        table = block(get(b"/kept"), 0x40)
        client.send(headers(1, table + b"\xbe" * 5_000))
        found = client.streams[1]
        client.wait(lambda: found.is_ended or found.reset is not None, "refusal")
        client.send(headers(3, b"\xc1\xc0\xbf\xbe"))
        assert client.response(3).body == b"GET /kept "
