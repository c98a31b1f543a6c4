//! `GET /events`: what has happened to the server.

use lockgate_history::write_event_list;

use super::answer::{Answer, JSON};
use super::history::Recording;

/// The path of events.
pub(super) const PATH: &[u8] = b"/events";

/// The answer to a request with this query: all events that are left, or those after an id.
pub(super) fn answer(recording: Option<&Recording>, query: &[u8]) -> Answer {
    let Some(after) = read_after(query) else {
        let query = String::from_utf8_lossy(query);
        let text = format!("{query}: must be after=ID, with the id of an event\n");
        return Answer::text(400, "Bad Request", &text);
    };
    let events = recording.map(Recording::events).unwrap_or_default();
    let mut body = Vec::new();
    write_event_list(&mut body, events, after);
    Answer::ok(JSON, body)
}

fn read_after(query: &[u8]) -> Option<u64> {
    match query {
        b"" => Some(0),
        _ => std::str::from_utf8(query.strip_prefix(b"after=")?)
            .ok()?
            .parse()
            .ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_an_id_or_is_refused() {
        for (query, expected) in [
            ("", Some(0)),
            ("after=0", Some(0)),
            ("after=123456789012", Some(123_456_789_012)),
            ("after=", None),
            ("after=-1", None),
            ("after=1&after=2", None),
            ("before=1", None),
        ] {
            assert_eq!(read_after(query.as_bytes()), expected, "{query}");
        }
    }
}
