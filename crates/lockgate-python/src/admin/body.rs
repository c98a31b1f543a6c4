//! The body of a request to the admin listener, as bytes.

use std::fmt;
use std::io::Read;

use lockgate_worker::Body;

/// Why a body cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NotRead(String);

pub(super) fn bytes_of(body: Body) -> Result<Vec<u8>, NotRead> {
    match body {
        Body::Empty => Ok(Vec::new()),
        Body::Memory(bytes) => Ok(bytes.to_vec()),
        Body::Spooled { mut file, .. } => {
            let mut bytes = Vec::new();
            let read = file.read_to_end(&mut bytes);
            read.map_err(|error| NotRead(error.to_string()))?;
            Ok(bytes)
        }
        Body::Stream(_) => Err(NotRead("it is streamed".to_owned())),
    }
}

impl fmt::Display for NotRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the request cannot be read: {}", self.0)
    }
}
