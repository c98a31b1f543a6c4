//! Request bodies that the application reads while the client sends them: the bytes that have arrived.
//!
//! The client may send as much as the stream's window allows: what the application has not read stays in the window.

use lockgate_http::http2::StreamId;

use super::state::State;
use crate::exchange::body::stream::BodyError;

/// What has arrived of one body.
pub(super) struct Incoming {
    stream: StreamId,
    pub(super) bytes: Vec<u8>,
    /// How many of them were read.
    pub(super) used: usize,
    pub(super) end: Option<Result<(), BodyError>>,
}

impl State {
    pub(super) fn add_incoming(&mut self, stream: StreamId) {
        self.incoming.push(Box::new(Incoming {
            stream,
            bytes: Vec::new(),
            used: 0,
            end: None,
        }));
    }

    pub(super) fn incoming_of(&mut self, stream: StreamId) -> Option<&mut Incoming> {
        let mut incoming = self.incoming.iter_mut();
        incoming
            .find(|one| one.stream == stream)
            .map(|one| &mut **one)
    }

    /// Whether the application reads this stream's body.
    pub(super) fn has_incoming(&self, stream: StreamId) -> bool {
        self.incoming.iter().any(|one| one.stream == stream)
    }

    /// Keeps a part of a body. False: the application does not read this stream's body, or not any more.
    pub(super) fn receive_for_application(
        &mut self,
        stream: StreamId,
        bytes: &[u8],
        is_last: bool,
    ) -> bool {
        let Some(incoming) = self
            .incoming_of(stream)
            .filter(|incoming| incoming.end.is_none())
        else {
            return false;
        };
        incoming.bytes.extend_from_slice(bytes);
        if is_last {
            incoming.end = Some(Ok(()));
        }
        true
    }

    /// The rest of the body does not arrive.
    pub(super) fn fail_incoming(&mut self, stream: StreamId, error: BodyError) {
        if let Some(incoming) = self.incoming_of(stream)
            && incoming.end.is_none()
        {
            incoming.end = Some(Err(error));
        }
    }

    pub(super) fn fail_all_incoming(&mut self, error: BodyError) {
        for incoming in &mut self.incoming {
            incoming.end.get_or_insert(Err(error));
        }
    }

    /// The application reads no more of the body.
    pub(super) fn remove_incoming(&mut self, stream: StreamId) {
        let Some(index) = self.incoming.iter().position(|one| one.stream == stream) else {
            return;
        };
        let incoming = self.incoming.swap_remove(index);
        let unread = incoming.bytes.len() - incoming.used;
        self.release(stream, unread);
    }

    /// The client may send this many bytes more.
    pub(super) fn release(&mut self, stream: StreamId, count: usize) {
        // A window has 31 bits.
        let flow = u32::try_from(count).unwrap_or(u32::MAX);
        if flow > 0 {
            (self.connection).release_capacity(stream, flow, &mut self.output);
        }
    }
}
