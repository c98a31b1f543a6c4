//! Encoders: a stream of bytes in a content coding.
//!
//! Invariant: what was written before a flush can be decoded from the output up to that flush; only the output of
//! [`Encoder::finish`] makes the whole complete.

mod brotli;
mod gzip;
mod pool;
mod zstd;

use std::fmt;

use crate::coding::Coding;

/// An encoder asks for room in pieces of this size.
const ROOM: usize = 16 << 10;

/// What is known of a stream, and how much an encoder does for it.
#[derive(Debug, Clone, Copy, Default)]
pub struct EncoderOptions {
    /// The exact length of the content, if it is known. It decides how much memory the encoder takes.
    pub length: Option<u64>,
    /// Bytes by which the output is longer than it would be (with Brotli, some three more). Decoders skip them.
    pub padding: u16,
    /// The output is made once and sent often: the best compression, whatever it costs.
    pub is_best: bool,
}

/// A stream that is encoded.
pub struct Encoder(Kind);

enum Kind {
    Zstd(zstd::Stream),
    Brotli(brotli::Stream),
    Gzip(gzip::Stream),
}

/// An encoder that has no memory, or a fault in its library. Its output is incomplete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncoderError(pub(crate) &'static str);

impl fmt::Display for EncoderError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

impl std::error::Error for EncoderError {}

/// What the encoder does after it has taken its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// It may keep what it has taken, for a better compression.
    Continue,
    /// All that it has taken can be decoded from its output.
    Flush,
    Finish,
}

impl Encoder {
    /// An encoder at the start of a stream.
    pub fn new(coding: Coding, options: EncoderOptions) -> Self {
        Self(match coding {
            Coding::Zstd => Kind::Zstd(zstd::Stream::new(options)),
            Coding::Brotli => Kind::Brotli(brotli::Stream::new(options)),
            Coding::Gzip => Kind::Gzip(gzip::Stream::new(options)),
        })
    }

    /// Appends to `out` what has become of this and earlier input, if anything yet.
    ///
    /// # Errors
    /// [`EncoderError`]; the stream cannot be continued.
    pub fn write(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), EncoderError> {
        self.run(input, out, Then::Continue)
    }

    /// Appends to `out` everything up to here.
    ///
    /// # Errors
    /// As [`Encoder::write`].
    pub fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), EncoderError> {
        self.run(b"", out, Then::Flush)
    }

    /// Appends to `out` everything up to here and the end of the stream. `rest` is the last input.
    ///
    /// # Errors
    /// As [`Encoder::write`].
    pub fn finish(mut self, rest: &[u8], out: &mut Vec<u8>) -> Result<(), EncoderError> {
        self.run(rest, out, Then::Finish)
    }

    fn run(&mut self, input: &[u8], out: &mut Vec<u8>, then: Then) -> Result<(), EncoderError> {
        match &mut self.0 {
            Kind::Zstd(stream) => stream.run(input, out, then),
            Kind::Brotli(stream) => stream.run(input, out, then),
            Kind::Gzip(stream) => stream.run(input, out, then),
        }
    }
}

/// A whole body in a coding, as responses of the application get it.
///
/// # Errors
/// [`EncoderError`]
pub fn encode(coding: Coding, content: &[u8]) -> Result<Vec<u8>, EncoderError> {
    encode_whole(coding, content, false)
}

/// A whole body in a coding with the best compression, which takes long: zstd 19, br 11, gzip 9.
///
/// # Errors
/// [`EncoderError`]
pub fn encode_best(coding: Coding, content: &[u8]) -> Result<Vec<u8>, EncoderError> {
    encode_whole(coding, content, true)
}

fn encode_whole(coding: Coding, content: &[u8], is_best: bool) -> Result<Vec<u8>, EncoderError> {
    let options = EncoderOptions {
        length: Some(content.len() as u64),
        padding: 0,
        is_best,
    };
    let mut out = Vec::new();
    Encoder::new(coding, options).finish(content, &mut out)?;
    out.shrink_to_fit();
    Ok(out)
}

#[cfg(test)]
mod tests;
