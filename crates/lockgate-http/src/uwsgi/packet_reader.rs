//! Reader of uwsgi packets: collects the bytes of a packet until its variables are complete.
//!
//! Invariant: besides the header at most [`Limits::head`] bytes are stored, and only bytes that have arrived.

use super::fault::PacketFault;
use super::modifiers::check_modifiers;
use super::packet::Packet;
use super::request::read_request;
use super::variables::Variables;
use crate::error::Refusal;
use crate::limits::Limits;
use crate::request::RequestHead;

/// `modifier1`, the size of the variables as 16 bits in little endian, `modifier2`.
const HEADER: usize = 4;

/// See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct PacketReader {
    /// What has arrived of the packet.
    bytes: Vec<u8>,
}

impl PacketReader {
    /// How many bytes of a packet have arrived.
    pub(crate) fn received(&self) -> usize {
        self.bytes.len()
    }

    /// Takes input; returns how much of it was used. With the packet, `head` is the head of its request.
    pub(crate) fn receive(
        &mut self,
        input: &[u8],
        head: &mut RequestHead,
        limits: &Limits,
    ) -> Result<(usize, Option<Box<Packet>>), Refusal> {
        if self.bytes.is_empty() && !input.is_empty() {
            head.clear();
        }
        let mut used = self.extend(input, HEADER);
        let Some(size) = self.check_header(limits)? else {
            return Ok((used, None));
        };
        used += self.extend(&input[used..], HEADER + size);
        if self.bytes.len() < HEADER + size {
            return Ok((used, None));
        }
        let variables = Variables::read(std::mem::take(&mut self.bytes), HEADER, limits)?;
        let packet = read_request(variables, head, limits)?;
        Ok((used, Some(Box::new(packet))))
    }

    /// Takes input up to this length of the packet; returns how much.
    fn extend(&mut self, input: &[u8], length: usize) -> usize {
        let count = input.len().min(length.saturating_sub(self.bytes.len()));
        self.bytes.extend_from_slice(&input[..count]);
        count
    }

    /// The size of the variables, once the header is complete.
    fn check_header(&self, limits: &Limits) -> Result<Option<usize>, Refusal> {
        let Some(header) = self.bytes.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        if begins_http(header) {
            return Err(PacketFault::HttpRequest.into());
        }
        let [first, low, high, second] = *header;
        check_modifiers(first, second)?;
        let size = usize::from(u16::from_le_bytes([low, high]));
        if size > limits.head {
            let limit = limits.head;
            return Err(Refusal::HeadTooLarge { limit });
        }
        Ok(Some(size))
    }
}

/// Whether these are the first bytes of a request line. No packet begins like that: its first modifier is a small
/// number.
fn begins_http(bytes: &[u8; 4]) -> bool {
    let is_of_method = |byte: &u8| byte.is_ascii_uppercase() || b" -".contains(byte);
    bytes[0].is_ascii_uppercase() && bytes.iter().all(is_of_method)
}
