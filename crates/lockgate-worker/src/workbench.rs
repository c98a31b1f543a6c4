//! What all connections of a lane use in turn, so that an idle one holds nothing of it. Knows no connection.

use std::time::Instant;

use crate::request::Request;

/// Buffers and spare parts, and the time of the present turn.
pub struct Workbench {
    /// Where reads land. Nothing stays in here between two connections.
    pub buffer: Box<[u8]>,
    /// Requests whose buffers have their size already.
    pub requests: Vec<Box<Request>>,
    /// Output buffers that idle connections do not need.
    pub outputs: Vec<Vec<u8>>,
    pub now: Instant,
    /// Bytes that were read since the page was told of them.
    pub received: u64,
}

/// Spare parts kept of each kind; more than a turn needs would only be memory.
const SPARE_PARTS: usize = 64;

impl Workbench {
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
