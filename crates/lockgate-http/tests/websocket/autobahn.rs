//! The groups 1 to 7 and 10 of the cases of Autobahn's testsuite for servers, with their numbers.

use lockgate_http::websocket::{CloseCode, FrameReader, Message, MessageLimits, ProtocolError};

use super::peer::{check_with_tungstenite, frame, play};
use super::utf8_sequences::{INVALID, VALID};

const LIMITS: MessageLimits = MessageLimits {
    size: 300_000,
    fragments: 64,
};

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
/// The first fragment of a text, one in the middle, and the last one.
const FIRST: u8 = 0x01;
const MIDDLE: u8 = 0x00;
const LAST: u8 = 0x80;

/// What a client sends, and what the reader makes of it.
struct Case {
    name: String,
    bytes: Vec<u8>,
    messages: Vec<Message>,
    error: Option<ProtocolError>,
}

fn case<const N: usize>(name: &str, frames: &[(u8, &[u8])], messages: [Message; N]) -> Case {
    Case {
        name: name.to_owned(),
        bytes: frames
            .iter()
            .flat_map(|(first, payload)| frame(*first, payload))
            .collect(),
        messages: messages.into(),
        error: None,
    }
}

fn fault<const N: usize>(
    name: &str,
    frames: &[(u8, &[u8])],
    messages: [Message; N],
    error: ProtocolError,
) -> Case {
    Case {
        error: Some(error),
        ..case(name, frames, messages)
    }
}

fn text(text: &str) -> Message {
    Message::Text(text.to_owned())
}

fn ping(payload: &[u8]) -> Message {
    Message::Ping(payload.to_vec())
}

fn pong(payload: &[u8]) -> Message {
    Message::Pong(payload.to_vec())
}

fn close(code: u16, reason: &str) -> Message {
    Message::Close(Some((CloseCode(code), reason.to_owned())))
}

fn lengths() -> Vec<Case> {
    let mut cases = Vec::new();
    for (at, length) in [0, 125, 126, 127, 128, 65_535, 65_536]
        .into_iter()
        .enumerate()
    {
        let (stars, bytes) = ("*".repeat(length), vec![0xfe; length]);
        let name = |group: u8| format!("1.{group}.{}", at + 1);
        cases.push(case(&name(1), &[(TEXT, stars.as_bytes())], [text(&stars)]));
        cases.push(case(
            &name(2),
            &[(BINARY, &bytes)],
            [Message::Binary(bytes.clone())],
        ));
    }
    let stars = "*".repeat(65_536);
    let mut fragments: Vec<(u8, &[u8])> = stars
        .as_bytes()
        .chunks(1300)
        .map(|part| (MIDDLE, part))
        .collect();
    fragments.first_mut().unwrap().0 = FIRST;
    fragments.last_mut().unwrap().0 = LAST;
    cases.push(case("10.1.1", &fragments, [text(&stars)]));
    cases
}

fn pings() -> Vec<Case> {
    let long = [0xfe; 126];
    let payload = (PING, &b"payload"[..]);
    let binary = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff";
    vec![
        case("2.1", &[(PING, b"")], [ping(b"")]),
        case("2.2", &[(PING, b"Hello, world!")], [ping(b"Hello, world!")]),
        case("2.3", &[(PING, binary)], [ping(binary)]),
        case("2.4", &[(PING, &long[..125])], [ping(&long[..125])]),
        fault("2.5", &[(PING, &long)], [], ProtocolError::LongControl),
        case("2.7", &[(PONG, b"")], [pong(b"")]),
        case("2.8", &[(PONG, b"unsolicited")], [pong(b"unsolicited")]),
        case(
            "2.9",
            &[(PONG, b"a"), (PING, b"b")],
            [pong(b"a"), ping(b"b")],
        ),
        case("2.10", &[payload; 10], [(); 10].map(|()| ping(payload.1))),
    ]
}

fn reserved_bits_and_opcodes() -> Vec<Case> {
    use ProtocolError::{Opcode, ReservedBit};
    let hello = b"Hello, world!";
    let mut cases = vec![
        fault("3.1", &[(TEXT | 0x10, hello)], [], ReservedBit),
        fault(
            "3.2",
            &[(TEXT, b"a"), (TEXT | 0x20, b"b"), (PING, b"")],
            [text("a")],
            ReservedBit,
        ),
        fault(
            "3.3",
            &[(TEXT, b"a"), (TEXT | 0x30, b"b"), (PING, b"")],
            [text("a")],
            ReservedBit,
        ),
        fault(
            "3.4",
            &[(TEXT, b"a"), (TEXT | 0x40, b"b"), (PING, b"")],
            [text("a")],
            ReservedBit,
        ),
        fault("3.5", &[(BINARY | 0x50, hello)], [], ReservedBit),
        fault("3.6", &[(PING | 0x60, hello)], [], ReservedBit),
        fault("3.7", &[(CLOSE | 0x70, b"")], [], ReservedBit),
    ];
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        let (name, first) = (format!("4, opcode {opcode}"), 0x80 | opcode);
        cases.push(fault(&name, &[(first, b"")], [], Opcode));
        cases.push(fault(
            &name,
            &[(TEXT, b"a"), (first, hello), (PING, b"")],
            [text("a")],
            Opcode,
        ));
    }
    cases
}

fn fragments() -> Vec<Case> {
    use ProtocolError::{FragmentedControl, InterruptedMessage, UnexpectedContinuation};
    let two = [(FIRST, &b"fragment1"[..]), (LAST, b"fragment2")];
    let both = || text("fragment1fragment2");
    let with_pings: [(u8, &[u8]); 7] = [
        (FIRST, b"1"),
        (MIDDLE, b"2"),
        (PING, b"a"),
        (MIDDLE, b"3"),
        (MIDDLE, b"4"),
        (PING, b"b"),
        (LAST, b"5"),
    ];
    vec![
        fault(
            "5.1",
            &[(PING & 0x7f, b"a"), (LAST, b"b")],
            [],
            FragmentedControl,
        ),
        fault(
            "5.2",
            &[(PONG & 0x7f, b"a"), (LAST, b"b")],
            [],
            FragmentedControl,
        ),
        case("5.3", &two, [both()]),
        case("5.6", &[two[0], (PING, b"p"), two[1]], [ping(b"p"), both()]),
        fault(
            "5.9",
            &[(LAST, b"a"), (TEXT, b"b")],
            [],
            UnexpectedContinuation,
        ),
        fault(
            "5.12",
            &[(MIDDLE, b"a"), (TEXT, b"b")],
            [],
            UnexpectedContinuation,
        ),
        fault(
            "5.15",
            &[two[0], two[1], (MIDDLE, b"a"), (TEXT, b"b")],
            [both()],
            UnexpectedContinuation,
        ),
        fault(
            "5.16",
            &[(MIDDLE, b"a"), two[0], two[1]],
            [],
            UnexpectedContinuation,
        ),
        fault(
            "5.17",
            &[(LAST, b"a"), two[0], two[1]],
            [],
            UnexpectedContinuation,
        ),
        fault(
            "5.18",
            &[two[0], (TEXT, b"fragment2")],
            [],
            InterruptedMessage,
        ),
        case("5.19", &with_pings, [ping(b"a"), ping(b"b"), text("12345")]),
        case("6.1.1", &[(TEXT, b"")], [text("")]),
        case(
            "6.1.2",
            &[(FIRST, b""), (MIDDLE, b""), (LAST, b"")],
            [text("")],
        ),
        case(
            "6.1.3",
            &[(FIRST, b""), (MIDDLE, b"middle"), (LAST, b"")],
            [text("middle")],
        ),
    ]
}

fn texts() -> Vec<Case> {
    let mut cases = Vec::new();
    let named = |bytes: &[u8]| format!("6, {}", bytes.escape_ascii());
    let fragments_of = |bytes: &'static [u8]| -> Vec<(u8, &[u8])> {
        let octets = bytes.chunks(1).map(|octet| (MIDDLE, octet));
        [(FIRST, &b""[..])]
            .into_iter()
            .chain(octets)
            .chain([(LAST, &b""[..])])
            .collect()
    };
    for bytes in VALID {
        let message = || [text(str::from_utf8(bytes).unwrap())];
        cases.push(case(&named(bytes), &[(TEXT, bytes)], message()));
        cases.push(case(&named(bytes), &fragments_of(bytes), message()));
    }
    for bytes in INVALID {
        cases.push(fault(
            &named(bytes),
            &[(TEXT, bytes)],
            [],
            ProtocolError::Utf8,
        ));
        cases.push(fault(
            &named(bytes),
            &fragments_of(bytes),
            [],
            ProtocolError::Utf8,
        ));
    }
    cases
}

fn closes() -> Vec<Case> {
    let long = [&b"\x03\xe8"[..], &[b'*'; 124]].concat();
    let stars = "*".repeat(123);
    let big = "*".repeat(262_144);
    let bye = || close(1000, "");
    let code = b"\x03\xe8";
    let mut cases = vec![
        case("7.1.1", &[(TEXT, b"a"), (CLOSE, code)], [text("a"), bye()]),
        case("7.1.2", &[(CLOSE, code), (CLOSE, code)], [bye()]),
        case("7.1.3", &[(CLOSE, code), (PING, b"")], [bye()]),
        case("7.1.4", &[(CLOSE, code), (TEXT, b"a")], [bye()]),
        case(
            "7.1.5",
            &[(FIRST, b"a"), (CLOSE, code), (LAST, b"b")],
            [bye()],
        ),
        case(
            "7.1.6",
            &[(TEXT, big.as_bytes()), (CLOSE, code), (PING, b"")],
            [text(&big), bye()],
        ),
        case("7.3.1", &[(CLOSE, b"")], [Message::Close(None)]),
        fault("7.3.2", &[(CLOSE, b"a")], [], ProtocolError::TruncatedClose),
        case("7.3.3", &[(CLOSE, code)], [bye()]),
        case(
            "7.3.4",
            &[(CLOSE, b"\x03\xe8Hello World!")],
            [close(1000, "Hello World!")],
        ),
        case("7.3.5", &[(CLOSE, &long[..125])], [close(1000, &stars)]),
        fault("7.3.6", &[(CLOSE, &long)], [], ProtocolError::LongControl),
        fault(
            "7.5.1",
            &[(CLOSE, b"\x03\xe8\xce\xba\xed\xa0\x80")],
            [],
            ProtocolError::Utf8,
        ),
    ];
    let valid = [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999,
    ];
    for code in valid.into_iter().chain([1012, 1013, 1014]) {
        let payload = u16::to_be_bytes(code);
        cases.push(case(
            &format!("7.7, {code}"),
            &[(CLOSE, &payload)],
            [close(code, "")],
        ));
    }
    for code in [
        0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535,
    ] {
        let payload = u16::to_be_bytes(code);
        let name = format!("7.9, {code}");
        cases.push(fault(
            &name,
            &[(CLOSE, &payload)],
            [],
            ProtocolError::CloseCode,
        ));
    }
    cases
}

#[test]
fn cases_have_their_outcome_whole_in_two_pieces_and_byte_by_byte() {
    let groups = [
        lengths(),
        pings(),
        reserved_bits_and_opcodes(),
        fragments(),
        texts(),
        closes(),
    ];
    let cases = groups.into_iter().flatten();
    for Case {
        name,
        bytes,
        messages,
        error,
    } in cases
    {
        let expected = (messages, error);
        assert_eq!(play([&*bytes], LIMITS), expected, "{name}");
        assert_eq!(
            play(bytes.chunks(1), LIMITS),
            expected,
            "{name}, byte by byte"
        );
        assert_eq!(
            play(bytes.chunks(997), LIMITS),
            expected,
            "{name}, in chops"
        );
        let cuts = if bytes.len() < 1000 { bytes.len() } else { 20 };
        for cut in 0..cuts {
            let (one, two) = bytes.split_at(cut);
            assert_eq!(play([one, two], LIMITS), expected, "{name}, cut at {cut}");
        }
        check_with_tungstenite(&bytes, LIMITS);
    }
}

#[test]
fn limits_are_inclusive() {
    let limits = MessageLimits {
        size: 200,
        fragments: 4,
    };
    let whole = frame(BINARY, &[0; 200]);
    let parts = [
        frame(0x02, &[0; 150]),
        frame(MIDDLE, b"").repeat(2),
        frame(LAST, &[0; 50]),
    ]
    .concat();
    for bytes in [whole, parts] {
        assert_eq!(
            play([&*bytes], limits),
            (vec![Message::Binary(vec![0; 200])], None)
        );
    }
}

/// The group 6.4, and faults of heads: nothing more is read or stored for a client that has broken the rules.
#[test]
fn a_fault_is_found_with_its_first_byte() {
    let limits = MessageLimits {
        size: 70_000,
        fragments: 4,
    };
    // `bytes` with the number of those after which `error` is found.
    let check = |bytes: Vec<u8>, at: usize, error: ProtocolError| {
        let mut reader = FrameReader::new(limits);
        for (index, piece) in bytes.chunks(1).enumerate() {
            match reader.read(piece) {
                Ok(_) => assert!(index + 1 < at, "{error} is found late in {bytes:x?}"),
                Err(found) => return assert_eq!((index + 1, found), (at, error), "{bytes:x?}"),
            }
        }
        panic!("{error} is not found in {bytes:x?}");
    };
    let valid = "κόσμε".as_bytes();
    let start = 6 + valid.len();
    check(
        frame(TEXT, &[valid, b"\xf4\x90\x80\x80edited"].concat()),
        start + 2,
        ProtocolError::Utf8,
    );
    check(
        frame(TEXT, &[valid, b"\xed\xa0\x80edited"].concat()),
        start + 2,
        ProtocolError::Utf8,
    );
    check(
        frame(TEXT, &[valid, b"\x80edited"].concat()),
        start + 1,
        ProtocolError::Utf8,
    );
    check(frame(FIRST, b"\xff."), 7, ProtocolError::Utf8);
    check(vec![0xc1], 1, ProtocolError::ReservedBit);
    check(vec![0x83], 1, ProtocolError::Opcode);
    check(vec![0x09], 1, ProtocolError::FragmentedControl);
    check(vec![0x81, 0x01], 2, ProtocolError::Unmasked);
    check(vec![0x89, 0xfe], 2, ProtocolError::LongControl);
    check(vec![0x81, 0xfe, 0, 125], 4, ProtocolError::Length);
    check(
        vec![0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
        10,
        ProtocolError::Length,
    );
    check(
        vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0],
        10,
        ProtocolError::Length,
    );
    check(
        frame(BINARY, &[0; 70_001]),
        14,
        ProtocolError::MessageTooBig,
    );
    let too_big = [frame(FIRST, &[b'*'; 69_999]), frame(LAST, b"**")].concat();
    check(too_big, 14 + 69_999 + 6, ProtocolError::MessageTooBig);
    let fragments = [frame(FIRST, b""), frame(MIDDLE, b"").repeat(4)].concat();
    check(fragments, 5 * 6, ProtocolError::TooManyFragments);
}
