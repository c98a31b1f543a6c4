//! Messages in any frames and any pieces, and tungstenite as the client and as another server.

use std::io::Cursor;

use lockgate_http::websocket::{
    CloseCode, Closing, FrameWriter, InvalidFrame, Message, MessageLimits, NextStep,
};
use proptest::prelude::*;
use tungstenite::Message as TheirMessage;
use tungstenite::protocol::{CloseFrame, Role, WebSocket};

use super::peer::{
    Outcome, check_with_tungstenite, frame, frame_with_mask, play, play_tungstenite,
};

const LIMITS: MessageLimits = MessageLimits {
    size: 400,
    fragments: 8,
};

fn bytes(length: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..=length)
}

fn data_message() -> impl Strategy<Value = Message> {
    prop_oneof![
        ".{0,90}".prop_map(Message::Text),
        bytes(300).prop_map(Message::Binary),
    ]
}

fn control_message() -> impl Strategy<Value = Message> {
    prop_oneof![
        bytes(125).prop_map(Message::Ping),
        bytes(125).prop_map(Message::Pong),
    ]
}

fn close_message() -> impl Strategy<Value = Message> {
    let code = prop_oneof![1000..=1003_u16, 1007..=1013_u16, 3000..=4999_u16].prop_map(CloseCode);
    prop::option::of((code, ".{0,30}")).prop_map(Message::Close)
}

/// A data message in fragments, with control frames between them.
#[derive(Debug, Clone)]
struct Fragmented {
    message: Message,
    cuts: Vec<prop::sample::Index>,
    controls: Vec<Message>,
    mask: [u8; 4],
}

fn fragmented() -> impl Strategy<Value = Fragmented> {
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    let controls = prop::collection::vec(control_message(), 0..4);
    (data_message(), cuts, controls, any::<[u8; 4]>()).prop_map(
        |(message, cuts, controls, mask)| Fragmented {
            message,
            cuts,
            controls,
            mask,
        },
    )
}

impl Fragmented {
    /// Appends the frames and the messages that they carry, in the order in which they end.
    fn write(&self, out: &mut Vec<u8>, messages: &mut Vec<Message>) {
        let (opcode, payload) = parts_of(&self.message);
        let mut places: Vec<usize> = self
            .cuts
            .iter()
            .map(|cut| cut.index(payload.len() + 1))
            .collect();
        places.extend([0, payload.len()]);
        places.sort_unstable();
        let last = places.len() - 2;
        let mut controls = self.controls.iter();
        for (at, ends) in places.windows(2).enumerate() {
            let first = if at == 0 { opcode } else { 0 } | if at == last { 0x80 } else { 0 };
            out.extend(frame_with_mask(
                first,
                &payload[ends[0]..ends[1]],
                self.mask,
            ));
            if at < last
                && let Some(control) = controls.next()
            {
                let (opcode, payload) = parts_of(control);
                out.extend(frame(0x80 | opcode, &payload));
                messages.push(control.clone());
            }
        }
        messages.push(self.message.clone());
    }
}

fn parts_of(message: &Message) -> (u8, Vec<u8>) {
    match message {
        Message::Text(text) => (1, text.clone().into_bytes()),
        Message::Binary(bytes) => (2, bytes.clone()),
        Message::Ping(bytes) => (9, bytes.clone()),
        Message::Pong(bytes) => (10, bytes.clone()),
        Message::Close(None) => (8, Vec::new()),
        Message::Close(Some((code, reason))) => {
            (8, [&code.0.to_be_bytes()[..], reason.as_bytes()].concat())
        }
    }
}

fn write(message: &Message, out: &mut Vec<u8>) {
    let mut writer = FrameWriter(out);
    match message {
        Message::Text(text) => writer.text(text),
        Message::Binary(bytes) => writer.binary(bytes),
        Message::Ping(bytes) => writer.ping(bytes).unwrap(),
        Message::Pong(bytes) => writer.pong(bytes).unwrap(),
        Message::Close(close) => {
            let close = close
                .as_ref()
                .map(|(code, reason)| (*code, reason.as_str()));
            writer.close(close).unwrap();
        }
    }
}

/// The outcome in pieces that end at `cuts`.
fn play_cut(input: &[u8], cuts: &[prop::sample::Index]) -> Outcome {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
    places.extend([0, input.len()]);
    places.sort_unstable();
    play(
        places.windows(2).map(|ends| &input[ends[0]..ends[1]]),
        LIMITS,
    )
}

proptest! {
    #[test]
    fn any_bytes_are_read_alike_in_any_pieces_and_by_tungstenite(input in bytes(80), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        prop_assert_eq!(play_cut(&input, &cuts), play([&*input], LIMITS));
        check_with_tungstenite(&input, LIMITS);
    }

    #[test]
    fn any_fragments_in_any_pieces_give_the_messages(sent in prop::collection::vec(fragmented(), 0..4), close in prop::option::of(close_message()), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let (mut input, mut messages) = (Vec::new(), Vec::new());
        sent.iter().for_each(|message| message.write(&mut input, &mut messages));
        if let Some(close) = close {
            let (opcode, payload) = parts_of(&close);
            input.extend(frame(0x80 | opcode, &payload));
            messages.push(close);
        }
        check_with_tungstenite(&input, LIMITS);
        prop_assert_eq!(play_cut(&input, &cuts), (messages, None));
    }

    #[test]
    fn frames_with_damaged_bytes_are_read_alike_in_any_pieces_and_by_tungstenite(
        sent in prop::collection::vec(fragmented(), 1..4),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut input = Vec::new();
        sent.iter().for_each(|message| message.write(&mut input, &mut Vec::new()));
        for (at, bits) in damage {
            let at = at.index(input.len());
            input[at] ^= bits;
        }
        prop_assert_eq!(play_cut(&input, &cuts), play([&*input], LIMITS));
        check_with_tungstenite(&input, LIMITS);
    }

    #[test]
    fn what_is_written_tungstenite_reads(messages in prop::collection::vec(prop_oneof![data_message(), control_message()], 0..6), close in close_message()) {
        let messages = [messages, vec![close]].concat();
        let mut out = Vec::new();
        messages.iter().for_each(|message| write(message, &mut out));
        prop_assert_eq!(play_tungstenite(&out, Role::Client, LIMITS.size), messages);
    }

    #[test]
    fn what_is_written_is_read_once_it_is_masked(message in prop_oneof![data_message(), control_message(), close_message()], mask: [u8; 4]) {
        let mut out = Vec::new();
        write(&message, &mut out);
        let (_, payload) = parts_of(&message);
        let head = out.len() - payload.len();
        prop_assert_eq!(&out[head..], &*payload);
        out[1] |= 0x80;
        let masked = payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key);
        let input: Vec<u8> = out[..head].iter().copied().chain(mask).chain(masked).collect();
        prop_assert_eq!(play([&*input], LIMITS), (vec![message], None));
    }

    #[test]
    fn what_tungstenite_writes_is_read(message in prop_oneof![data_message(), control_message(), close_message()]) {
        let theirs = match message.clone() {
            Message::Text(text) => TheirMessage::text(text),
            Message::Binary(bytes) => TheirMessage::binary(bytes),
            Message::Ping(bytes) => TheirMessage::Ping(bytes.into()),
            Message::Pong(bytes) => TheirMessage::Pong(bytes.into()),
            Message::Close(close) => TheirMessage::Close(close.map(|(code, reason)| CloseFrame {
                code: code.0.into(),
                reason: reason.into(),
            })),
        };
        let mut client = WebSocket::from_raw_socket(Cursor::new(Vec::new()), Role::Client, None);
        client.send(theirs).unwrap();
        let input = client.into_inner().into_inner();
        prop_assert_eq!(play([&*input], LIMITS), (vec![message], None));
    }
}

#[test]
fn a_length_is_written_in_its_shortest_form() {
    let cases: [(usize, &[u8]); 6] = [
        (0, b"\x82\0"),
        (125, b"\x82\x7d"),
        (126, b"\x82\x7e\0\x7e"),
        (65_535, b"\x82\x7e\xff\xff"),
        (65_536, b"\x82\x7f\0\0\0\0\0\x01\0\0"),
        (70_000, b"\x82\x7f\0\0\0\0\0\x01\x11\x70"),
    ];
    for (length, head) in cases {
        let mut out = Vec::new();
        FrameWriter(&mut out).binary(&vec![7; length]);
        assert_eq!(out, [head, &vec![7; length]].concat());
    }
}

#[test]
fn a_control_frame_that_a_client_would_refuse_is_not_written() {
    let mut out = Vec::new();
    let mut writer = FrameWriter(&mut out);
    assert_eq!(writer.ping(&[0; 126]), Err(InvalidFrame::LongControl));
    assert_eq!(writer.pong(&[0; 126]), Err(InvalidFrame::LongControl));
    let long = "*".repeat(124);
    let close = Some((CloseCode::NORMAL, &*long));
    assert_eq!(writer.close(close), Err(InvalidFrame::LongControl));
    for code in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
        let close = Some((CloseCode(code), ""));
        assert_eq!(writer.close(close), Err(InvalidFrame::CloseCode));
    }
    assert!(out.is_empty());
}

#[test]
fn each_side_sends_one_close_frame() {
    let mut closing = Closing::default();
    assert!(closing.may_send());
    assert_eq!(closing.start(), NextStep::SendClose);
    assert!(!closing.may_send());
    assert_eq!(closing.start(), NextStep::Nothing);
    assert_eq!(closing.end(), NextStep::End);
    assert_eq!(closing.lose(), NextStep::Nothing);
    assert_eq!(Closing::Open.end(), NextStep::SendCloseAndEnd);
    assert_eq!(Closing::Open.lose(), NextStep::End);
    assert_eq!(Closing::Sent.lose(), NextStep::End);
    assert_eq!(Closing::Closed.start(), NextStep::Nothing);
}
