"""Prints how a server answers hostile input: one row a case, each case a file of corpus/.

    python tests/hostile_table.py HOST:PORT           any server that serves tests/apps/echoing.py
    python tests/hostile_table.py --serve             the installed Lockgate, started for it
    python tests/hostile_table.py --all --faults …    every file of the corpus; only what is not OK

For another server:  cd tests/apps && gunicorn -b 127.0.0.1:9000 echoing:app
Ends with 1 when a row is NOT what it should be. What the verdicts mean is in tests/README.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from harness.process import Server
from harness.samples import CORPUS, Expected, Sample, answers_of, read_sample
from harness.wire import Malformed, Response, Truncated, Wire

# Longer than any server needs for an answer, and than one that polls once a second needs to close.
PATIENCE = 2.5
# The server speaks HTTP/2: a frame of this type, without flags, on stream 0 (RFC 9113 §3.4).
HTTP2 = "HTTP/2"
SETTINGS = b"\x04\x00\x00\x00\x00\x00"
# How long to look for bytes behind the answers that were due.
QUIET = 0.05


@dataclass
class Row:
    title: str
    file: str
    #: Other answers that are right too.
    also: tuple[str, ...] = ()


@dataclass
class Answer:
    responses: list[Response]
    end: str  # closed, open, hang, HTTP/2 or what is wrong with the bytes
    is_late: bool = False  # only after the sample had been continued

    def reported(self) -> str:
        parts = [self._of(response) for response in self.responses]
        reported = " + ".join([*parts, *([self.end] if self.end != "open" else [])])
        return f"waits, then {reported}" if self.is_late else reported

    @staticmethod
    def _of(response: Response) -> str:
        if response.status != 200 or not response.body:
            return str(response.status)
        try:
            seen = json.loads(response.body)
        except ValueError:
            return f"200 {response.body[:20]!r}"
        shown = [f"{key}={clip(seen[key])}" for key in ("body", "length", "x") if seen.get(key)]
        shown += [f"merged={key}" for key in seen["merged"] if key in SPOOFED]
        if seen["path"] not in ("/", ""):
            shown.insert(0, f"path={clip(seen['path'])}")
        return " ".join(["200", *shown])


# What an application reads although a client may not say it.
SPOOFED = {"HTTP_X_FORWARDED_FOR", "SCRIPT_NAME", "PATH_INFO", "REMOTE_USER", "HTTP_X"}


def clip(text: str) -> str:
    shown = repr(text)
    return shown if len(shown) <= 20 else shown[:16] + "…'"


def ask(address: tuple[str, int], sample: Sample, due: int) -> Answer:
    """Sends the sample and reads every answer, the ones too many as well.

    Most refused samples end where there is enough to refuse them. A server that waits for more may:
    it gets the end of a head, and has to answer then.
    """
    with Wire(address, timeout=PATIENCE) as wire:
        wire.send_while_open(sample.data)
        if any("Truncated" in expected.refusal for expected in sample.expected):
            wire.finish_sending()
        answer = read_answer(wire, sample, due)
        if answer.end == "hang" and not answer.responses and wire.send_while_open(b"\r\n\r\n"):
            answer = read_answer(wire, sample, due)
            answer.is_late = answer.end != "hang"
        return answer


def read_answer(wire: Wire, sample: Sample, due: int) -> Answer:
    responses: list[Response] = []
    interim = 0
    try:
        while True:
            wire.socket.settimeout(PATIENCE)
            if len(responses) >= due + interim and not responses[-1].wants_close():
                wire.socket.settimeout(QUIET)
            if not wire.pending and not wire.receive():
                return Answer(responses, "closed")
            if not responses and wire.pending[3:9] == SETTINGS:
                return Answer([], HTTP2)
            wire.socket.settimeout(PATIENCE)
            method = sample.expected[min(len(responses), len(sample.expected) - 1)].method
            responses.append(wire.response(method or "GET"))
            interim += responses[-1].status < 200
    except TimeoutError:
        if wire.pending:
            return Answer(responses, f"part {wire.pending[:20]!r}")
        return Answer(responses, "open" if len(responses) >= due + interim else "hang")
    except (Malformed, Truncated) as error:
        return Answer(responses, f"malformed ({str(error)[:40]})")
    except OSError as error:
        return Answer(responses, f"broken ({type(error).__name__})")


def judge(row: Row, sample: Sample, answer: Answer) -> str:
    """OK; `other` when it is refused, but late or with another status; NOT."""
    if answer.end == HTTP2:
        return "OK" if row.file == "invalid/http2_preface" else "NOT"
    due = answers_of(sample)
    final = [response for response in answer.responses if response.status >= 200]
    statuses = [response.status for response in final]
    if "+".join(map(str, statuses)) in row.also and is_sound(answer):
        return "OK"
    is_left = "Truncated" in due[-1].refusal
    if is_left and answer.end == "closed" and len(statuses) == len(due) - 1:
        return "OK"  # to a client that left within its request, silence is an answer too
    wanted = [expected.status for expected in due]
    if due[-1].refusal and len(statuses) == len(wanted) and statuses[:-1] == wanted[:-1]:
        if answer.end != "closed" or not 400 <= statuses[-1] < 600:
            return "NOT"
        return "OK" if statuses == wanted and not answer.is_late else "other"
    if statuses != wanted or not is_sound(answer):
        return "NOT"
    pairs = zip(final, due, strict=True)
    return "OK" if all(reached(response, expected) for response, expected in pairs) else "NOT"


def is_sound(answer: Answer) -> bool:
    return answer.end in ("open", "closed")


def reached(response: Response, expected: Expected) -> bool:
    """The application saw the request that was meant."""
    if expected.method == "HEAD":
        return not response.body
    if expected.is_about_server and not response.body:
        return True
    try:
        seen = json.loads(response.body)
    except ValueError:
        return False
    body = expected.body.decode("latin-1")
    # A server may give the decoded body of chunks with its length or without one.
    lengths = (str(len(body)), None) if expected.framing == "chunked" else (seen["length"],)
    target = expected.target
    if "://" in target:
        parts = urlsplit(target)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    path, _, query = target.partition("?")
    return (
        seen["method"] == expected.method
        and seen["path"] == unquote_to_bytes(path).decode("latin-1")
        and seen["query"] == query
        and seen["body"] == body
        and seen["length"] in lengths
        and not SPOOFED & set(seen["merged"])
    )


TABLE = [
    Row("ok GET", "valid/get"),
    Row("no Host (1.1)", "invalid/host_missing"),
    Row("two Host", "invalid/host_twice"),
    Row("Host a/b?c", "invalid/host_path"),
    Row("CL+TE", "invalid/length_and_chunked"),
    Row("TE+CL", "invalid/chunked_and_length"),
    Row("two CL differ", "invalid/content_length_twice"),
    Row("two CL same", "invalid/content_length_twice_the_same"),
    Row("CL list 3, 3", "invalid/content_length_list"),
    Row("CL +3", "invalid/content_length_plus"),
    Row("CL 0x3", "invalid/content_length_hexadecimal"),
    Row("CL 1_0", "invalid/content_length_underscore"),
    Row("CL -1", "invalid/content_length_negative"),
    Row("CL empty", "invalid/content_length_empty"),
    Row("CL beyond 64 bits", "invalid/content_length_beyond_64_bits"),
    Row("CL TAB", "valid/content_length_tab", also=("400",)),
    Row("CL 20 digits", "valid/content_length_twenty_digits"),
    Row("TE xchunked", "invalid/coding_unknown"),
    Row("TE \\x0bchunked", "invalid/coding_vertical_tab"),
    Row("TE chunked,identity", "invalid/coding_chunked_identity"),
    Row("TE identity", "invalid/coding_identity"),
    Row("TE gzip,chunked", "invalid/coding_gzip_chunked"),
    Row("TE chunked x2 hdrs", "invalid/coding_two_lines"),
    Row("TE in HTTP/1.0", "invalid/coding_in_http10"),
    Row("TE : sp colon", "invalid/coding_space_before_colon"),
    Row("chunk ok", "valid/chunked"),
    Row("chunk 0x3", "invalid/chunk_size_prefixed"),
    Row("chunk +3", "invalid/chunk_size_plus"),
    Row("chunk -1", "invalid/chunk_size_negative"),
    Row("chunk 1_0", "invalid/chunk_size_underscore"),
    Row("chunk LF only", "invalid/chunk_size_line_feed"),
    Row("chunk data no CRLF", "invalid/chunk_data_without_end"),
    Row("chunk ext \\n", "invalid/chunk_extension_line_feed"),
    Row("chunk ext ok", "valid/chunk_extensions"),
    Row("chunk size 65 bits", "invalid/chunk_size_beyond_64_bits"),
    Row("chunk leading zeros", "valid/chunk_size_leading_zeros"),
    Row("chunk huge size", "invalid/chunk_size_huge"),
    Row("trailer TE", "invalid/trailer_transfer_encoding"),
    Row("trailer CL", "invalid/trailer_content_length"),
    Row("bare LF lines", "invalid/bare_line_feeds"),
    Row("bare CR in value", "invalid/bare_carriage_return_in_value"),
    Row("NUL in value", "invalid/value_nul"),
    Row("obs-fold", "invalid/obs_fold"),
    Row("X_Foo underscore", "valid/field_underscore", also=("400",)),
    Row("empty hdr name", "invalid/empty_name"),
    Row("hdr no colon", "invalid/no_colon"),
    Row("space before hdr1", "invalid/space_before_first_field"),
    Row("HTTP/9.9", "invalid/version_9_9"),
    Row("HTTP/0.9 style", "invalid/http09_style"),
    Row("ver 1.1 + junk", "invalid/version_then_junk"),
    Row("2 spaces in line", "invalid/two_spaces_before_target"),
    Row("TAB in line", "invalid/tab_before_target"),
    Row("HTTP/1.2", "valid/version_1_2", also=("505",)),
    Row("HTTP/3.0", "invalid/version_3_0"),
    Row("lower method", "valid/lower_case_method", also=("501",)),
    Row("method 100k", "invalid/method_100k"),
    Row("method G@T", "invalid/method_at"),
    Row("* non OPTIONS", "invalid/asterisk_without_options"),
    Row("Host a:", "valid/host_empty_port", also=("400",)),
    Row("OPTIONS *", "valid/options_asterisk"),
    Row("CONNECT h:1", "invalid/connect"),
    Row("rel target", "invalid/relative_target"),
    Row("raw utf8 path", "invalid/target_utf8"),
    Row("NUL in path", "invalid/target_nul"),
    Row("frag in path", "invalid/target_fragment"),
    Row("Expect 100", "valid/expect_continue"),
    Row("Expect foo", "invalid/expect_unknown"),
    Row("line 10k", "invalid/line_10k"),
    Row("hdr 20k", "invalid/field_20k", also=("200",)),
    Row("200 hdrs", "invalid/fields_200"),
    Row("hdr 300k", "invalid/field_300k"),
    Row("TLS hello", "invalid/tls_client_hello"),
    Row("h2 preface", "invalid/http2_preface"),
    Row("pipelined x2", "valid/pipelined_twice"),
    Row("2 leading CRLF", "valid/two_leading_empty_lines", also=("400",)),
    # The advisories of other servers, and framing of every kind on every method.
    Row("TE.TE", "invalid/coding_two_lines_differ"),
    Row("TE \\x85 and \\xa0", "invalid/coding_next_line_byte"),
    Row("LF hides TE", "invalid/coding_chunked_and_line_feed"),
    Row("CL.0", "valid/body_is_a_request"),
    Row("0.CL on GET", "valid/content_length_on_get"),
    Row("0.CL on HEAD", "valid/content_length_on_head"),
    Row("0.CL on OPTIONS", "valid/content_length_on_options"),
    Row("0.TE on GET", "valid/chunked_on_get"),
    Row("CL 0 + TE on GET", "invalid/length_zero_and_chunked_on_get"),
    Row("chunk size + space", "invalid/pipelined_smuggled_in_chunk_size"),
    Row("chunk ext \\r", "invalid/chunk_extension_carriage_return"),
    Row("chunk ext 1 MB", "invalid/chunk_line_one_megabyte"),
    Row("chunks of 1 byte", "valid/one_byte_chunks"),
    Row("final CRLF missing", "invalid/closed_inside_trailers"),
    Row("trailer is request", "invalid/trailer_is_next_request"),
    Row("trailer Host", "invalid/trailer_host"),
    Row("trailer Authorization", "invalid/trailer_authorization"),
    Row("trailer X_Y", "valid/trailer_underscore", also=("400",)),
    Row("behind a refusal", "invalid/pipelined_after_refusal"),
    Row("behind 64 KiB", "valid/pipelined_behind_large_body"),
    Row("behind 100-continue", "valid/pipelined_behind_expectation"),
    Row("behind Connection: close", "valid/connection_close"),
    Row("Content_Length", "valid/field_underscore_cannot_frame", also=("400",)),
    Row("SCRIPT_NAME field", "valid/fields_named_like_environ_keys", also=("400",)),
    Row("two Content-Type", "invalid/two_content_types"),
    Row("absolute, other Host", "valid/absolute_target_with_other_host"),
    Row("//path", "valid/double_slash_path"),
    Row("/../%2e%2e%2f%00;", "valid/path_is_not_normalized"),
    Row("overlong UTF-8", "valid/path_overlong_utf8"),
    Row("half an escape", "valid/path_half_an_escape", also=("400",)),
    Row("nameless cookie", "valid/nameless_cookie"),
    Row("8000 spaces", "valid/white_space_8000_times"),
    Row("32,768 hdrs", "invalid/fields_32768"),
    Row("PROXY v1 unasked", "invalid/proxy_version_1_unasked"),
    Row("PROXY v2 unasked", "invalid/proxy_version_2_unasked"),
]


def all_rows() -> list[Row]:
    known = {row.file: row for row in TABLE}
    files = sorted((CORPUS / "http1").glob("*/*.http"))
    names = [f"{path.parent.name}/{path.stem}" for path in files]
    return [known.get(name) or Row(name, name) for name in names]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address", nargs="?", help="HOST:PORT")
    parser.add_argument("--serve", action="store_true", help="start the installed Lockgate")
    parser.add_argument("--all", action="store_true", help="every file of the corpus")
    parser.add_argument("--faults", action="store_true", help="only rows that are not OK")
    options = parser.parse_args()
    if bool(options.address) == options.serve:
        parser.error("either HOST:PORT or --serve")
    rows = all_rows() if options.all else TABLE
    if not options.serve:
        host, _, port = options.address.rpartition(":")
        return 1 if print_table((host, int(port)), rows, options.faults) else 0
    with tempfile.TemporaryDirectory() as directory:
        server = Server(Path(directory), "echoing:app")
        try:
            return 1 if print_table(server.address, rows, options.faults) else 0
        finally:
            server.stop()
            server.end()


def print_table(address: tuple[str, int], rows: list[Row], only_faults: bool) -> int:
    """How many rows are NOT what they should be."""
    counts = {"OK": 0, "other": 0, "NOT": 0, "skipped": 0}
    began = time.monotonic()
    print(f"{'':5}  {'case':24}  {'expected':22}  got")
    for row in rows:
        sample = read_sample(CORPUS / "http1" / f"{row.file}.http")
        expected = " + ".join(expectation_words(expected) for expected in answers_of(sample))
        if sample.limits:
            # It needs a server with settings of its own; tests/http/test_corpus.py starts that.
            counts["skipped"] += 1
            continue
        answer = ask(address, sample, len(answers_of(sample)))
        verdict = judge(row, sample, answer)
        counts[verdict] += 1
        if not (only_faults and verdict == "OK"):
            line = f"{verdict:5}  {row.title:24}  {expected:22}  {answer.reported()}"
            print(line.rstrip(), flush=True)
    took = time.monotonic() - began
    words = [f"{count} {verdict}" for verdict, count in counts.items() if count]
    print(f"{len(rows)} rows: {', '.join(words)}; {took:.0f} s")
    return counts["NOT"]


def expectation_words(expected: Expected) -> str:
    return f"{expected.status} + closed" if expected.refusal else str(expected.status)


if __name__ == "__main__":
    sys.exit(main())
