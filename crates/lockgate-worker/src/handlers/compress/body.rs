//! The body of one response that is being encoded.
//!
//! Invariant: what was counted is gathered or encoded, each byte once and in order.

use std::fs::File;
use std::os::unix::fs::FileExt;

use lockgate_compress::{Coding, Encoder, EncoderError, EncoderOptions};
use lockgate_http::ResponseHead;

use super::{INLINE_AT_MOST, Shared};
use crate::exchange::writer::Sent;
use crate::transport::outbox::SharedBytes;

/// Bytes of a file that are read at a time.
const FILE_PART: usize = 64 << 10;

/// See the module.
pub(super) struct EncodedBody {
    /// The head, until it is passed on.
    pub(super) head: Option<ResponseHead>,
    coding: Coding,
    options: EncoderOptions,
    /// `None` before the first bytes are encoded.
    encoder: Option<Encoder>,
    /// Small pieces that are encoded together.
    gathered: Vec<u8>,
    /// The body in one piece.
    whole: Option<Box<dyn SharedBytes>>,
    /// Encoded bytes that are not passed on yet.
    pub(super) out: Vec<u8>,
    taken: u64,
}

impl EncodedBody {
    pub(super) fn new(
        head: ResponseHead,
        coding: Coding,
        length: Option<u64>,
        padding: u16,
    ) -> Self {
        Self {
            head: Some(head),
            coding,
            options: EncoderOptions {
                length,
                padding,
                is_best: false,
            },
            encoder: None,
            gathered: Vec::new(),
            whole: None,
            out: Vec::new(),
            taken: 0,
        }
    }

    /// Counts a piece against the announced length. Returns how much of it is part of the body.
    fn count(&mut self, length: u64) -> (u64, Sent) {
        let left = (self.options.length).map_or(u64::MAX, |announced| announced - self.taken);
        let part = length.min(left);
        self.taken += part;
        let sent = Sent {
            is_cut: part < length,
            is_complete: self.options.length == Some(self.taken),
        };
        (part, sent)
    }

    /// Announced bytes that have not come.
    pub(super) fn missing(&self) -> u64 {
        (self.options.length).map_or(0, |announced| announced - self.taken)
    }

    pub(super) fn push(&mut self, piece: &[u8], shared: &Shared) -> Result<Sent, EncoderError> {
        let (part, sent) = self.count(piece.len() as u64);
        let piece = &piece[..part as usize];
        if self.gathered.len() + piece.len() <= INLINE_AT_MOST {
            self.gathered.extend_from_slice(piece);
            return Ok(sent);
        }
        let length = self.gathered.len() + piece.len();
        let mut outcome = Ok(());
        shared.encode(length, &mut || {
            outcome = (self.encode_gathered()).and_then(|()| self.encode(piece));
        });
        outcome.map(|()| sent)
    }

    /// As [`EncodedBody::push`]; a piece that is the whole body is kept.
    pub(super) fn push_shared(
        &mut self,
        piece: Box<dyn SharedBytes>,
        shared: &Shared,
    ) -> Result<Sent, EncoderError> {
        let length = piece.bytes().len() as u64;
        if self.taken > 0 || self.options.length != Some(length) {
            return self.push(piece.bytes(), shared);
        }
        let (_, sent) = self.count(length);
        self.whole = Some(piece);
        Ok(sent)
    }

    /// Reads the next part of a file and encodes it. Returns how many bytes it was; 0: the file has become shorter.
    pub(super) fn push_file(
        &mut self,
        file: &File,
        offset: u64,
        length: u64,
        shared: &Shared,
    ) -> Result<u64, EncoderError> {
        let wanted = length.min(FILE_PART as u64) as usize;
        let mut count = 0;
        let mut outcome = Ok(());
        // It may wait for a disk, so the length does not matter.
        shared.encode(usize::MAX, &mut || {
            let mut part = vec![0; wanted];
            count = file.read_at(&mut part, offset).unwrap_or(0);
            outcome = (self.encode_gathered()).and_then(|()| self.encode(&part[..count]));
        });
        outcome.map(|()| count as u64)
    }

    /// Counts a range of a file, which [`EncodedBody::push_file`] gets afterwards.
    pub(super) fn count_file(&mut self, length: u64) -> (u64, Sent) {
        self.count(length)
    }

    /// All pieces so far can be decoded from what `out` has then.
    pub(super) fn flush(&mut self, shared: &Shared) -> Result<(), EncoderError> {
        let mut outcome = Ok(());
        let length = self.unencoded();
        shared.encode(length, &mut || {
            outcome = self.encode_gathered().and_then(|()| {
                let Self { encoder, out, .. } = self;
                encoder
                    .as_mut()
                    .map_or(Ok(()), |encoder| encoder.flush(out))
            });
        });
        outcome
    }

    /// Appends the end of the stream to `out`.
    pub(super) fn finish(&mut self, shared: &Shared) -> Result<(), EncoderError> {
        let mut outcome = Ok(());
        let length = self.unencoded();
        shared.encode(length, &mut || {
            let encoder = self.take_encoder();
            let rest = self
                .whole
                .as_deref()
                .map_or(&*self.gathered, SharedBytes::bytes);
            outcome = encoder.finish(rest, &mut self.out);
        });
        outcome
    }

    fn unencoded(&self) -> usize {
        let whole = self.whole.as_ref().map_or(0, |whole| whole.bytes().len());
        whole + self.gathered.len()
    }

    fn take_encoder(&mut self) -> Encoder {
        (self.encoder.take()).unwrap_or_else(|| Encoder::new(self.coding, self.options))
    }

    fn encode_gathered(&mut self) -> Result<(), EncoderError> {
        if let Some(whole) = self.whole.take() {
            return self.encode(whole.bytes());
        }
        let mut gathered = std::mem::take(&mut self.gathered);
        let outcome = self.encode(&gathered);
        gathered.clear();
        self.gathered = gathered;
        outcome
    }

    fn encode(&mut self, bytes: &[u8]) -> Result<(), EncoderError> {
        let (coding, options) = (self.coding, self.options);
        let encoder = (self.encoder).get_or_insert_with(|| Encoder::new(coding, options));
        encoder.write(bytes, &mut self.out)
    }
}
