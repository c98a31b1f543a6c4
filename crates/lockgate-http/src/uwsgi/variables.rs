//! The variables of a uwsgi packet: pairs of a name and a value, each with its length as 16 bits in little endian.

use super::fault::PacketFault;
use crate::limits::Limits;
use crate::span::{Field, Span};

/// How many variables there may be besides one for each field of the request: the parameters that the web server adds.
/// nginx's file `uwsgi_params` has 16, Apache sends up to 30, and TLS has as many variables.
pub(super) const PARAMETERS: usize = 100;

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Variables {
    bytes: Vec<u8>,
    pairs: Vec<Field>,
}

impl Variables {
    /// Reads the variables that begin at `start`.
    pub(super) fn read(bytes: Vec<u8>, start: usize, limits: &Limits) -> Result<Self, PacketFault> {
        let limit = limits.fields.saturating_add(PARAMETERS);
        let mut pairs = Vec::new();
        let mut at = start;
        while at < bytes.len() {
            if pairs.len() == limit {
                return Err(PacketFault::TooManyVariables { limit });
            }
            let name = part(&bytes, at)?;
            let value = part(&bytes, name.end as usize)?;
            check(name.of(&bytes), value.of(&bytes))?;
            at = value.end as usize;
            pairs.push(Field { name, value });
        }
        Ok(Self { bytes, pairs })
    }

    /// Name and value of each variable, in order.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.pairs
            .iter()
            .map(|pair| (pair.name.of(&self.bytes), pair.value.of(&self.bytes)))
    }

    /// The bytes, and those of the pairs whose names are wanted.
    pub(super) fn into_parts(mut self, is_wanted: impl Fn(&[u8]) -> bool) -> (Vec<u8>, Vec<Field>) {
        let bytes = self.bytes;
        self.pairs.retain(|pair| is_wanted(pair.name.of(&bytes)));
        (bytes, self.pairs)
    }
}

/// The bytes whose length is at `at`.
fn part(bytes: &[u8], at: usize) -> Result<Span, PacketFault> {
    let length = bytes.get(at..).and_then(|rest| rest.first_chunk::<2>());
    let length = usize::from(u16::from_le_bytes(
        *length.ok_or(PacketFault::TruncatedVariable)?,
    ));
    let span = Span::new(at + 2, at + 2 + length);
    match span.end as usize <= bytes.len() {
        true => Ok(span),
        false => Err(PacketFault::TruncatedVariable),
    }
}

/// A value may have line ends: a certificate has them.
fn check(name: &[u8], value: &[u8]) -> Result<(), PacketFault> {
    if name.is_empty() {
        return Err(PacketFault::EmptyName);
    }
    let is_of_path = name == b"PATH_INFO" || name == b"SCRIPT_NAME";
    // A path may be any bytes, as a decoded path of HTTP.
    if name.iter().any(u8::is_ascii_control) || (value.contains(&0) && !is_of_path) {
        return Err(PacketFault::ForbiddenByte);
    }
    Ok(())
}
