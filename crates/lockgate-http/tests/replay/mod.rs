//! Feeds bytes to a parser in pieces and records the events.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    missing_docs
)]

use lockgate_http::{
    ControlData, Event, Framing, Limits, Refusal, RequestHead, RequestHeadBuilder, RequestParser,
    Version,
};

/// Everything that some bytes resulted in.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct Transcript {
    pub messages: Vec<Message>,
    pub refusal: Option<Refused>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    pub method: Vec<u8>,
    pub target: Vec<u8>,
    pub path: Vec<u8>,
    pub query: Vec<u8>,
    pub host: Option<Vec<u8>>,
    pub version: Version,
    pub framing: Framing,
    pub keep_alive: bool,
    pub expects_continue: bool,
    pub dropped: usize,
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub head_bytes: Vec<u8>,
    pub body: Vec<u8>,
    pub is_whole: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    pub refusal: Refusal,
    pub method: Vec<u8>,
    pub target: Vec<u8>,
    pub head_bytes: Vec<u8>,
}

/// Feeds `pieces` one after another, then the end of the input.
pub fn play<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: Limits) -> Transcript {
    let mut parser = RequestParser::new(limits);
    let mut transcript = Transcript::default();
    for piece in pieces {
        // A new head for each piece: partial data must be stored in the parser.
        let mut head = RequestHead::default();
        let outcome = play_piece(&mut parser, piece, &mut head, &mut transcript);
        assert!(parser.buffered() <= limits.head.max(limits.trailers));
        if let Err(refusal) = outcome {
            let again = parser.step(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", &mut head);
            assert_eq!(again, Err(refusal), "a refusal is final");
            let is_of_head = transcript.messages.last().is_none_or(|last| last.is_whole);
            if !is_of_head {
                head.clear();
            }
            transcript.refusal = Some(Refused {
                refusal,
                method: head.method().to_vec(),
                target: head.target().to_vec(),
                head_bytes: head.head_bytes().to_vec(),
            });
            return transcript;
        }
    }
    if let Err(refusal) = parser.receive_eof() {
        transcript.refusal = Some(Refused {
            refusal,
            method: Vec::new(),
            target: Vec::new(),
            head_bytes: Vec::new(),
        });
    }
    transcript
}

fn play_piece(
    parser: &mut RequestParser,
    piece: &[u8],
    head: &mut RequestHead,
    transcript: &mut Transcript,
) -> Result<(), Refusal> {
    let mut rest = piece;
    loop {
        let (used, event) = parser.step(rest, head)?;
        rest = &rest[used..];
        match event {
            Event::NeedMore => {
                assert!(rest.is_empty(), "more is needed though {rest:?} is left");
                return Ok(());
            }
            Event::Head => transcript.messages.push(Message::of(head)),
            Event::Body(data) => {
                assert!(!data.is_empty());
                let message = transcript.messages.last_mut().expect("a body has a head");
                message.body.extend_from_slice(data);
            }
            Event::End => {
                let message = transcript.messages.last_mut().expect("an end has a head");
                message.is_whole = true;
                assert_eq!(parser.step(rest, head), Ok((0, Event::Paused)));
                parser.next_message();
                assert!(parser.is_idle());
            }
            Event::Paused => panic!("paused before the end"),
        }
    }
}

impl Message {
    fn of(head: &RequestHead) -> Self {
        Self {
            method: head.method().to_vec(),
            target: head.target().to_vec(),
            path: head.path().to_vec(),
            query: head.query().to_vec(),
            host: head.host().map(<[u8]>::to_vec),
            version: head.version(),
            framing: head.framing(),
            keep_alive: head.keep_alive(),
            expects_continue: head.expects_continue(),
            dropped: head.dropped_fields(),
            headers: head
                .headers()
                .map(|(name, value)| (name.to_vec(), value.to_vec()))
                .collect(),
            head_bytes: head.head_bytes().to_vec(),
            body: Vec::new(),
            is_whole: false,
        }
    }
}

/// Checks that an independent parser reads an accepted head the same way.
pub fn check_with_httparse(message: &Message) {
    let mut fields = vec![httparse::EMPTY_HEADER; 20_010];
    let mut request = httparse::Request::new(&mut fields);
    let bytes = &message.head_bytes;
    let as_known = with_known_version(bytes);
    let status = request.parse(&as_known);
    assert_eq!(
        status,
        Ok(httparse::Status::Complete(bytes.len())),
        "{:?}",
        String::from_utf8_lossy(bytes)
    );
    assert_eq!(request.method.unwrap().as_bytes(), message.method);
    assert_eq!(request.path.unwrap().as_bytes(), message.target);
    let version = match message.version {
        Version::Http10 => 0,
        Version::Http11 | Version::Http2 | Version::Http3 => 1,
    };
    assert_eq!(request.version, Some(version));
    let fields: Vec<_> = request
        .headers
        .iter()
        .filter(|field| !field.name.contains('_'))
        .map(|field| (field.name.as_bytes().to_vec(), field.value.to_vec()))
        .collect();
    assert_eq!(fields, message.headers);
    assert_eq!(request.headers.len(), fields.len() + message.dropped);
}

/// Checks that an accepted head, taken apart by another parser, can be built from its parts.
pub fn check_with_builder(message: &Message) {
    let unlimited = Limits {
        request_line: usize::MAX,
        fields: usize::MAX,
        field_size: usize::MAX,
        head: usize::MAX,
        body: 0,
        ..Limits::default()
    };
    let control_data = ControlData {
        method: &message.method,
        scheme: None,
        authority: None,
        target: &message.target,
        version: message.version,
    };
    let mut fields = vec![httparse::EMPTY_HEADER; 20_010];
    let mut request = httparse::Request::new(&mut fields);
    let as_known = with_known_version(&message.head_bytes);
    request.parse(&as_known).unwrap();
    let mut head = RequestHead::default();
    let mut builder = RequestHeadBuilder::new(&mut head, &control_data, &unlimited).unwrap();
    for field in request.headers.iter() {
        builder.field(field.name.as_bytes(), field.value).unwrap();
    }
    builder.finish().unwrap();
    let built = Message {
        head_bytes: message.head_bytes.clone(),
        body: message.body.clone(),
        is_whole: message.is_whole,
        ..Message::of(&head)
    };
    assert_eq!(&built, message);
}

/// httparse refuses minor versions above 1, which are to be read as 1.1 (RFC 9110 §2.5).
fn with_known_version(head: &[u8]) -> Vec<u8> {
    let mut head = head.to_vec();
    let line = head.iter().position(|&byte| byte == b'\r').unwrap_or(0);
    if head[..line].ends_with(b".0") {
        return head;
    }
    head[line - 1] = b'1';
    head
}
