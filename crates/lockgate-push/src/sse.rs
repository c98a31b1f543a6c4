//! Server-sent events (HTML Living Standard, section 9.2): how an event is written, and which responses have them.

/// Appends an event with its data, which may have several lines.
///
/// An event name or an id with a line break or NUL is left out, since it would end its line.
pub fn write_event(out: &mut Vec<u8>, event: Option<&str>, id: Option<&str>, data: &[u8]) {
    for (name, value) in [("event", event), ("id", id)] {
        if let Some(value) = value.filter(|value| is_one_line(value)) {
            write_line(out, name, value.as_bytes());
        }
    }
    let mut rest = data;
    loop {
        let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let Some(end) = end else {
            write_line(out, "data", rest);
            break;
        };
        write_line(out, "data", &rest[..end]);
        let width = if rest[end..].starts_with(b"\r\n") {
            2
        } else {
            1
        };
        rest = &rest[end + width..];
    }
    out.push(b'\n');
}

/// Whether a text fits into one line of an event; NUL makes a browser ignore an id.
pub(crate) fn is_one_line(text: &str) -> bool {
    !text.contains(['\r', '\n', '\0'])
}

/// Whether a response with this `Content-Type` has server-sent events.
pub fn is_event_stream(content_type: &[u8]) -> bool {
    let media_type = content_type.split(|byte| *byte == b';').next();
    media_type.is_some_and(|media_type| {
        media_type
            .trim_ascii()
            .eq_ignore_ascii_case(b"text/event-stream")
    })
}

fn write_line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(event: Option<&str>, id: Option<&str>, data: &[u8]) -> String {
        let mut out = Vec::new();
        write_event(&mut out, event, id, data);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_line_of_the_data_is_a_line_of_the_event() {
        for (data, expected) in [
            ("", "data: \n\n"),
            ("a", "data: a\n\n"),
            (" a", "data:  a\n\n"),
            ("a\nb", "data: a\ndata: b\n\n"),
            ("a\rb", "data: a\ndata: b\n\n"),
            ("a\r\nb", "data: a\ndata: b\n\n"),
            ("a\n\rb", "data: a\ndata: \ndata: b\n\n"),
            ("a\n", "data: a\ndata: \n\n"),
            ("\r\n", "data: \ndata: \n\n"),
            ("a\nevent: b", "data: a\ndata: event: b\n\n"),
        ] {
            assert_eq!(written(None, None, data.as_bytes()), expected, "{data:?}");
        }
    }

    #[test]
    fn name_and_id_come_first() {
        for (event, id, expected) in [
            (Some("saved"), Some("7"), "event: saved\nid: 7\ndata: x\n\n"),
            (None, Some(""), "id: \ndata: x\n\n"),
            (Some("a\ndata: b"), Some("1\r"), "data: x\n\n"),
            (None, Some("1\0"), "data: x\n\n"),
        ] {
            assert_eq!(written(event, id, b"x"), expected, "{event:?} {id:?}");
        }
    }

    #[test]
    fn the_media_type_decides_and_its_parameters_do_not() {
        for (content_type, expected) in [
            ("text/event-stream", true),
            ("Text/Event-Stream ; charset=utf-8", true),
            ("text/plain", false),
            ("text/event-stream2", false),
            ("", false),
        ] {
            assert_eq!(
                is_event_stream(content_type.as_bytes()),
                expected,
                "{content_type:?}"
            );
        }
    }

    /// The fields of the events in a stream, as the standard's algorithm reads them.
    fn read(stream: &[u8]) -> Vec<Vec<u8>> {
        let text: Vec<u8> = stream.to_vec();
        let mut events = Vec::new();
        let mut data: Option<Vec<u8>> = None;
        for line in text.split(|byte| *byte == b'\n') {
            if line.is_empty() {
                events.extend(data.take());
            } else if let Some(value) = line.strip_prefix(b"data: ") {
                match &mut data {
                    Some(data) => {
                        data.push(b'\n');
                        data.extend_from_slice(value);
                    }
                    None => data = Some(value.to_vec()),
                }
            }
        }
        events
    }

    proptest! {
        #[test]
        fn a_client_reads_the_data_that_was_written(data: Vec<u8>) {
            let mut out = Vec::new();
            write_event(&mut out, None, None, &data);
            let lines = String::from_utf8_lossy(&data).replace("\r\n", "\n").replace('\r', "\n");
            let got: Vec<String> = read(&out)
                .iter()
                .map(|data| String::from_utf8_lossy(data).into_owned())
                .collect();
            prop_assert_eq!(got, vec![lines]);
        }
    }
}
