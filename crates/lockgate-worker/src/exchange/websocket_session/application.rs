//! The application's side of a session: the events that wait for its next request, and the values that go with each.

use lockgate_http::ResponseHead;
use lockgate_http::websocket::events::{self, WebSocketEvent};

use super::answer::BadAnswer;

/// Bytes of events from which on the client is not read: the rest waits in its socket.
const MOST_EVENTS: usize = 64 * 1024;

/// Bytes of all names and values of Meta fields.
const MOST_META: usize = 8 * 1024;

/// What a field of a response begins with that sets a value.
const SET_META: &str = "set-meta-";

/// See the module documentation.
#[derive(Debug, Default)]
pub struct Application {
    events: Vec<u8>,
    is_asked: bool,
    /// It gets no further events.
    is_over: bool,
    meta: Vec<(String, String)>,
}

impl Application {
    /// The client has sent something.
    pub fn push(&mut self, event: &WebSocketEvent) {
        if !self.is_over {
            events::encode(event, &mut self.events);
        }
    }

    /// The session ends with this event.
    pub fn push_last(&mut self, event: &WebSocketEvent) {
        self.push(event);
        self.is_over = true;
    }

    /// The application wants no further events.
    pub fn end(&mut self) {
        self.events = Vec::new();
        self.is_over = true;
    }

    /// Whether it gets further events.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether the client may be read.
    pub fn has_room(&self) -> bool {
        self.events.len() < MOST_EVENTS
    }

    /// Whether it knows of all events, and has answered.
    pub fn is_idle(&self) -> bool {
        !self.is_asked && self.events.is_empty()
    }

    /// The content of a request that is to be made now.
    pub fn next_request(&mut self, is_check_due: bool) -> Option<Vec<u8>> {
        let is_due = !self.events.is_empty() || (is_check_due && !self.is_over);
        if self.is_asked || !is_due {
            return None;
        }
        self.is_asked = true;
        Some(std::mem::take(&mut self.events))
    }

    /// The answer has come.
    pub fn on_answer(&mut self) {
        self.is_asked = false;
    }

    /// The names, without `Meta-`, and the values that each request has.
    pub fn meta(&self) -> impl Iterator<Item = (&str, &str)> {
        (self.meta.iter()).map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Sets the values that a response has in its fields `Set-Meta-NAME`. An empty one removes the value.
    ///
    /// # Errors
    /// There are too many.
    pub fn take_meta(&mut self, head: &ResponseHead) -> Result<(), BadAnswer> {
        for (field, value) in head.headers() {
            let (Ok(field), Ok(value)) = (str::from_utf8(field), str::from_utf8(value)) else {
                continue;
            };
            let Some((start, name)) = field.split_at_checked(SET_META.len()) else {
                continue;
            };
            if !start.eq_ignore_ascii_case(SET_META) || name.is_empty() {
                continue;
            }
            self.meta
                .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
            if !value.is_empty() {
                self.meta.push((name.to_owned(), value.to_owned()));
            }
        }
        let size: usize = self
            .meta()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        match size > MOST_META {
            true => Err(BadAnswer::Meta { limit: MOST_META }),
            false => Ok(()),
        }
    }
}
