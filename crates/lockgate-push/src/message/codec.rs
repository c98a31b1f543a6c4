//! The encoding of a message in the broadcast log: a version, then fields of a tag, a length and bytes.
//!
//! Fields with an unknown tag are skipped, so that processes of two versions of the server can share a log. Lengths
//! are in LEB128.

use super::{Content, Message, ResponseFormat, StreamFormat, WebSocketFormat};

/// The first byte of a record; another one means an encoding that this program cannot read.
const VERSION: u8 = 1;

/// Tags of fields. A number is never used again for something else.
mod tag {
    pub const CHANNEL: u8 = 1;
    pub const ID: u8 = 2;
    pub const PREV_ID: u8 = 3;
    pub const EVENT: u8 = 4;
    pub const SENDER: u8 = 5;
    pub const TEXT: u8 = 6;
    pub const BINARY: u8 = 7;
    pub const STREAM_CONTENT: u8 = 8;
    pub const STREAM_CLOSE: u8 = 9;
    pub const RESPONSE_CODE: u8 = 10;
    pub const RESPONSE_REASON: u8 = 11;
    pub const RESPONSE_HEADER_NAME: u8 = 12;
    pub const RESPONSE_HEADER_VALUE: u8 = 13;
    pub const RESPONSE_BODY: u8 = 14;
    pub const WEBSOCKET_TEXT: u8 = 15;
    pub const WEBSOCKET_BINARY: u8 = 16;
    pub const WEBSOCKET_CLOSE: u8 = 17;
    pub const SKIP_USERS: u8 = 18;
    pub const REQUIRE_SUB: u8 = 19;
    pub const BUILDS_ID: u8 = 20;
    pub const RELAYED: u8 = 21;
}

impl Message {
    /// Appends the encoded message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.encoded_size());
        out.push(VERSION);
        self.for_each_field(&mut |tag, value| {
            out.push(tag);
            let mut rest = value.len();
            while rest > 0x7f {
                out.push((rest & 0x7f) as u8 | 0x80);
                rest >>= 7;
            }
            out.push(rest as u8);
            out.extend_from_slice(value);
        });
    }

    /// Bytes that `encode` appends.
    pub(super) fn encoded_size(&self) -> usize {
        let mut size = 1;
        self.for_each_field(&mut |_, value| {
            let bits = (usize::BITS - value.len().leading_zeros()).max(1);
            size += 1 + bits.div_ceil(7) as usize + value.len();
        });
        size
    }

    /// The message of a record; `None` if these bytes are none.
    pub fn decode(record: &[u8]) -> Option<Self> {
        let (version, mut rest) = record.split_first()?;
        if *version != VERSION {
            return None;
        }
        let mut message = Self::default();
        while !rest.is_empty() {
            let (tag, value, after) = next_field(rest)?;
            message.set(tag, value)?;
            rest = after;
        }
        Some(message)
    }

    fn for_each_field(&self, put: &mut dyn FnMut(u8, &[u8])) {
        put(tag::CHANNEL, self.channel.as_bytes());
        for (tag, value) in [
            (tag::ID, &self.id),
            (tag::PREV_ID, &self.prev_id),
            (tag::EVENT, &self.event),
            (tag::SENDER, &self.sender),
            (tag::SKIP_USERS, &self.skip_users),
            (tag::REQUIRE_SUB, &self.require_sub),
            (tag::RELAYED, &self.relayed),
        ] {
            if let Some(value) = value {
                put(tag, value.as_bytes());
            }
        }
        match &self.content {
            Some(Content::Text(text)) => put(tag::TEXT, text.as_bytes()),
            Some(Content::Binary(bytes)) => put(tag::BINARY, bytes),
            None => {}
        }
        match &self.formats.http_stream {
            Some(StreamFormat::Content(bytes)) => put(tag::STREAM_CONTENT, bytes),
            Some(StreamFormat::Close) => put(tag::STREAM_CLOSE, &[]),
            None => {}
        }
        if self.builds_id {
            put(tag::BUILDS_ID, &[]);
        }
        if let Some(response) = &self.formats.http_response {
            put(tag::RESPONSE_CODE, &response.code.to_le_bytes());
            put(tag::RESPONSE_REASON, response.reason.as_bytes());
            for (name, value) in &response.headers {
                put(tag::RESPONSE_HEADER_NAME, name.as_bytes());
                put(tag::RESPONSE_HEADER_VALUE, value.as_bytes());
            }
            put(tag::RESPONSE_BODY, &response.body);
        }
        match &self.formats.ws_message {
            Some(WebSocketFormat::Text(text)) => put(tag::WEBSOCKET_TEXT, text.as_bytes()),
            Some(WebSocketFormat::Binary(bytes)) => put(tag::WEBSOCKET_BINARY, bytes),
            Some(WebSocketFormat::Close(Some(code))) => {
                put(tag::WEBSOCKET_CLOSE, &code.to_le_bytes());
            }
            Some(WebSocketFormat::Close(None)) => put(tag::WEBSOCKET_CLOSE, &[]),
            None => {}
        }
    }

    /// Sets a field. The parts of a response follow its status code.
    fn set(&mut self, tag: u8, value: &[u8]) -> Option<()> {
        let formats = &mut self.formats;
        match tag {
            tag::CHANNEL => self.channel = text(value)?,
            tag::ID => self.id = Some(text(value)?),
            tag::PREV_ID => self.prev_id = Some(text(value)?),
            tag::EVENT => self.event = Some(text(value)?),
            tag::SENDER => self.sender = Some(text(value)?),
            tag::SKIP_USERS => self.skip_users = Some(text(value)?),
            tag::REQUIRE_SUB => self.require_sub = Some(text(value)?),
            tag::BUILDS_ID => self.builds_id = true,
            tag::RELAYED => self.relayed = Some(text(value)?),
            tag::TEXT => self.content = Some(Content::Text(text(value)?)),
            tag::BINARY => self.content = Some(Content::Binary(value.to_vec())),
            tag::STREAM_CONTENT => {
                formats.http_stream = Some(StreamFormat::Content(value.to_vec()));
            }
            tag::STREAM_CLOSE => formats.http_stream = Some(StreamFormat::Close),
            tag::RESPONSE_CODE => {
                formats.http_response = Some(ResponseFormat {
                    code: number(value)?,
                    ..ResponseFormat::default()
                });
            }
            tag::RESPONSE_REASON => formats.http_response.as_mut()?.reason = text(value)?,
            tag::RESPONSE_HEADER_NAME => {
                let response = formats.http_response.as_mut()?;
                response.headers.push((text(value)?, String::new()));
            }
            tag::RESPONSE_HEADER_VALUE => {
                let response = formats.http_response.as_mut()?;
                response.headers.last_mut()?.1 = text(value)?;
            }
            tag::RESPONSE_BODY => formats.http_response.as_mut()?.body = value.to_vec(),
            tag::WEBSOCKET_TEXT => formats.ws_message = Some(WebSocketFormat::Text(text(value)?)),
            tag::WEBSOCKET_BINARY => {
                formats.ws_message = Some(WebSocketFormat::Binary(value.to_vec()));
            }
            tag::WEBSOCKET_CLOSE => {
                let code = match value {
                    [] => None,
                    _ => Some(number(value)?),
                };
                formats.ws_message = Some(WebSocketFormat::Close(code));
            }
            _ => {}
        }
        Some(())
    }
}

/// The tag and the value of the first field, and what follows it.
fn next_field(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, mut rest) = bytes.split_first()?;
    let mut length = 0_usize;
    let mut shift = 0;
    loop {
        let (byte, after) = rest.split_first()?;
        rest = after;
        let part = usize::from(byte & 0x7f);
        // More bits than a length has would be lost by the shift.
        length |= part
            .checked_shl(shift)
            .filter(|shifted| shifted >> shift == part)?;
        if byte & 0x80 == 0 {
            break;
        }
        shift += 7;
    }
    let (value, rest) = rest.split_at_checked(length)?;
    Some((*tag, value, rest))
}

fn text(value: &[u8]) -> Option<String> {
    std::str::from_utf8(value).ok().map(str::to_owned)
}

fn number(value: &[u8]) -> Option<u16> {
    value.try_into().ok().map(u16::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::super::Formats;
    use super::*;

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![Just(String::new()), any::<String>(), "x{120,140}"]
    }

    fn content() -> impl Strategy<Value = Content> {
        prop_oneof![
            text().prop_map(Content::Text),
            any::<Vec<u8>>().prop_map(Content::Binary),
        ]
    }

    fn stream() -> impl Strategy<Value = StreamFormat> {
        prop_oneof![
            any::<Vec<u8>>().prop_map(StreamFormat::Content),
            Just(StreamFormat::Close),
        ]
    }

    fn response() -> impl Strategy<Value = ResponseFormat> {
        (
            any::<u16>(),
            text(),
            vec((text(), text()), 0..4),
            any::<Vec<u8>>(),
        )
            .prop_map(|(code, reason, headers, body)| ResponseFormat {
                code,
                reason,
                headers,
                body,
            })
    }

    fn websocket() -> impl Strategy<Value = WebSocketFormat> {
        prop_oneof![
            text().prop_map(WebSocketFormat::Text),
            any::<Vec<u8>>().prop_map(WebSocketFormat::Binary),
            any::<Option<u16>>().prop_map(WebSocketFormat::Close),
        ]
    }

    fn formats() -> impl Strategy<Value = Formats> {
        let parts = (
            option::of(stream()),
            option::of(response()),
            option::of(websocket()),
        );
        parts.prop_map(|(http_stream, http_response, ws_message)| Formats {
            http_stream,
            http_response,
            ws_message,
        })
    }

    fn message() -> impl Strategy<Value = Message> {
        let texts = [(); 7].map(|()| option::of(text()));
        (
            text(),
            texts,
            option::of(content()),
            formats(),
            any::<bool>(),
        )
            .prop_map(|(channel, texts, content, formats, builds_id)| {
                let [id, prev_id, event, sender, skip_users, require_sub, relayed] = texts;
                Message {
                    channel,
                    id,
                    prev_id,
                    event,
                    content,
                    formats,
                    sender,
                    skip_users,
                    require_sub,
                    builds_id,
                    relayed,
                }
            })
    }

    proptest! {
        #[test]
        fn a_message_is_decoded_as_it_was_encoded(message in message()) {
            let mut record = Vec::new();
            message.encode(&mut record);
            prop_assert_eq!(record.len(), message.encoded_size());
            prop_assert_eq!(Message::decode(&record), Some(message));
        }

        #[test]
        fn no_prefix_of_a_record_is_another_message_with_the_same_fields(
            message in message(),
            cut: proptest::sample::Index,
        ) {
            let mut record = Vec::new();
            message.encode(&mut record);
            record.truncate(cut.index(record.len()));
            prop_assert_ne!(Message::decode(&record), Some(message));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let _ = Message::decode(&bytes);
            let mut record = vec![VERSION];
            record.extend(bytes);
            if let Some(message) = Message::decode(&record) {
                let mut again = Vec::new();
                message.encode(&mut again);
                prop_assert_eq!(Message::decode(&again), Some(message));
            }
        }
    }

    #[test]
    fn records_that_are_no_messages_are_refused() {
        let longest_length = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        let too_long = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        for (name, fields) in [
            ("a length that exceeds the record", &[tag::ID, 2, b'a'][..]),
            ("no length", &[tag::ID]),
            ("a length that does not end", &[tag::ID, 0x80, 0x80]),
            ("no UTF-8", &[tag::CHANNEL, 1, 0xff]),
            ("a status code of one byte", &[tag::RESPONSE_CODE, 1, 200]),
            ("a body without a response", &[tag::RESPONSE_BODY, 0]),
            (
                "a value without a name",
                &[tag::RESPONSE_CODE, 2, 200, 0, tag::RESPONSE_HEADER_VALUE, 0],
            ),
            (
                "a close code of three bytes",
                &[tag::WEBSOCKET_CLOSE, 3, 0, 0, 0],
            ),
            (
                "the longest length",
                &[&[tag::ID][..], &longest_length].concat(),
            ),
            (
                "a length of more than 64 bits",
                &[&[tag::ID][..], &too_long].concat(),
            ),
        ] {
            let record = [&[VERSION][..], fields].concat();
            assert_eq!(Message::decode(&record), None, "{name}");
        }
        assert_eq!(Message::decode(b""), None);
        assert_eq!(Message::decode(&[VERSION + 1]), None, "another version");
    }

    #[test]
    fn fields_of_a_later_version_are_skipped() {
        let record = [VERSION, 200, 3, 1, 2, 3, tag::CHANNEL, 1, b'a', 255, 0];
        let message = Message::decode(&record).unwrap();
        assert_eq!(message.channel, "a");
    }
}
