//! Scratch buffers shared by all connections of a event loop, so that an idle connection holds none of them.

use std::time::Instant;

use crate::exchange::request::Request;

/// Buffers, spare objects and the time of the current turn.
pub struct Scratch {
    /// The read buffer. It is empty between two connections.
    pub buffer: Box<[u8]>,
    /// Requests for reuse, whose buffers have their size already.
    pub requests: Vec<Box<Request>>,
    /// Output buffers that idle connections do not need.
    pub outputs: Vec<Vec<u8>>,
    pub now: Instant,
    /// Bytes read since they were last recorded on the scoreboard.
    pub received: u64,
}

/// Spare objects kept of each kind; more than a turn needs would only use memory.
const SPARE_PARTS: usize = 64;

impl Scratch {
    pub fn new(read_buffer: usize, now: Instant) -> Self {
        Self {
            buffer: vec![0; read_buffer].into_boxed_slice(),
            requests: Vec::new(),
            outputs: Vec::new(),
            now,
            received: 0,
        }
    }

    pub fn keep_request(&mut self, request: Box<Request>) {
        if self.requests.len() < SPARE_PARTS {
            self.requests.push(request);
        }
    }

    pub fn keep_output(&mut self, output: Vec<u8>) {
        if output.capacity() > 0 && self.outputs.len() < SPARE_PARTS {
            self.outputs.push(output);
        }
    }
}
