//! How much of a body the application has produced, and the one way in which its pieces are queued.

use lockgate_worker::{ClientGone, Reply, Sent, SharedBytes};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::ffi::PinnedBytes;

/// Smaller pieces are copied behind the queued bytes: a copy costs less than a second buffer in `writev`.
const SMALLEST_SHARED: usize = 4096;

/// The announced length, and what the application has produced of the body.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    /// The application's Content-Length.
    pub(crate) announced: Option<u64>,
    /// Bytes of body that the application produced.
    pub(crate) produced: u64,
    /// The application produced more than announced.
    pub(crate) is_cut: bool,
    /// A `write` found the client disconnected.
    pub(crate) is_client_gone: bool,
}

impl Progress {
    /// Records bytes that are not sent; they count as excess if the response is complete.
    pub(super) fn record_excess(&mut self, length: usize, is_complete: bool) {
        if is_complete {
            self.produced += length as u64;
            self.is_cut = true;
        }
    }
}

/// What an application had said before its call failed.
#[derive(Default)]
pub(crate) struct Said {
    /// A `write` found the client disconnected.
    pub(crate) is_client_gone: bool,
    /// Its status is 5xx, so the request is recorded as failed.
    pub(crate) is_failure: bool,
}

/// Queues one piece that is not empty.
pub(crate) fn queue(
    reply: &mut Reply,
    piece: Bound<'_, PyBytes>,
    progress: &mut Progress,
) -> Result<Sent, ClientGone> {
    let length = piece.as_bytes().len();
    progress.produced += length as u64;
    // A subclass of bytes may be anything underneath, so its bytes are copied.
    let sent = if length >= SMALLEST_SHARED && piece.is_exact_instance_of::<PyBytes>() {
        reply.send_shared(Box::new(PinnedBytes::new(piece)))?
    } else {
        reply.send_copy(piece.as_bytes())?
    };
    progress.is_cut |= sent.is_cut;
    Ok(sent)
}

impl SharedBytes for PinnedBytes {
    fn bytes(&self) -> &[u8] {
        self.content()
    }
}
