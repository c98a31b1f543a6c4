//! A complete response of the server itself whose body is not copied: a file, memory with another owner, parts of them.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use lockgate_http::{BodyLength, ResponseHead};

use super::writer::{ClientGone, ResponseWriter, Sent};
use crate::transport::outbox::SharedBytes;
use lockgate_files::SharedFile;

/// Smaller bodies are copied behind their head: a second buffer in `writev` costs more.
const SMALLEST_SHARED: usize = 16 << 10;

/// See the module documentation.
pub struct Prepared {
    /// The head, without Content-Length: it follows from the body.
    pub head: Arc<ResponseHead>,
    /// Its body.
    pub body: PreparedBody,
    /// Its coding was chosen for this client (RFC 9110 §12.5.3): it is sent as it is.
    pub is_negotiated: bool,
}

/// The body of a [`Prepared`] response.
pub enum PreparedBody {
    /// No bytes.
    Empty,
    /// The answer to HEAD: the body that GET would get has this many bytes.
    Omitted {
        /// Bytes; `None`: they are not known.
        length: Option<u64>,
    },
    /// Bytes of its own.
    Bytes(Vec<u8>),
    /// Bytes with another owner.
    Shared(Box<dyn SharedBytes>),
    /// A part of a file, which the kernel may copy.
    File {
        /// Open for reading.
        file: Arc<SharedFile>,
        /// The first byte.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// One after the other.
    Parts(Vec<PreparedBody>),
}

impl PreparedBody {
    /// Bytes.
    pub fn length(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Omitted { length } => length.unwrap_or(0),
            Self::File { length, .. } => *length,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Shared(bytes) => bytes.bytes().len() as u64,
            Self::Parts(parts) => parts.iter().map(Self::length).sum(),
        }
    }

    /// What the head says about the length.
    pub fn framing(&self) -> BodyLength {
        match self {
            Self::Omitted { length: None } => BodyLength::Unknown,
            body => BodyLength::Known(body.length()),
        }
    }

    /// Appends a copy of all bytes. False: a file is shorter than it was, or cannot be read.
    pub fn read_into(&self, into: &mut Vec<u8>) -> bool {
        match self {
            Self::Empty | Self::Omitted { .. } => true,
            Self::Bytes(bytes) => {
                into.extend_from_slice(bytes);
                true
            }
            Self::Shared(bytes) => {
                into.extend_from_slice(bytes.bytes());
                true
            }
            Self::File {
                file,
                offset,
                length,
            } => {
                let start = into.len();
                into.resize(start + *length as usize, 0);
                file.read_exact_at(&mut into[start..], *offset).is_ok()
            }
            Self::Parts(parts) => parts.iter().all(|part| part.read_into(into)),
        }
    }

    /// Calls `send` for each part that has bytes, in order.
    pub fn for_each(self, send: &mut dyn FnMut(PreparedBody)) {
        match self {
            Self::Empty | Self::Omitted { .. } => {}
            Self::Parts(parts) => parts.into_iter().for_each(|part| part.for_each(send)),
            part => send(part),
        }
    }
}

/// Queues one part of a body.
///
/// # Errors
/// As [`ResponseWriter::send_copy`].
pub(crate) fn send_part(
    writer: &mut dyn ResponseWriter,
    part: PreparedBody,
) -> Result<Sent, ClientGone> {
    match part {
        PreparedBody::Empty | PreparedBody::Omitted { .. } => Ok(Sent::default()),
        PreparedBody::Bytes(bytes) if bytes.len() < SMALLEST_SHARED => writer.send_copy(&bytes),
        PreparedBody::Bytes(bytes) => writer.send_shared(Box::new(Owned(bytes))),
        PreparedBody::Shared(bytes) if bytes.bytes().len() < SMALLEST_SHARED => {
            writer.send_copy(bytes.bytes())
        }
        PreparedBody::Shared(bytes) => writer.send_shared(bytes),
        PreparedBody::File {
            file,
            offset,
            length,
        } => writer.send_file(file, offset, length),
        PreparedBody::Parts(parts) => {
            let mut sent = Ok(Sent::default());
            for part in parts {
                sent = send_part(writer, part);
            }
            sent
        }
    }
}

struct Owned(Vec<u8>);

impl SharedBytes for Owned {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}
