//! gzip (RFC 1952): deflate between a header and a check sum.

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use super::pool::Pool;
use super::{EncoderError, EncoderOptions, ROOM, Then};

const LEVEL: u32 = 4;
const BEST_LEVEL: u32 = 9;

static POOL: Pool<Compress> = Pool::new();

/// See the module.
pub(super) struct Stream {
    /// `None` after an error.
    deflate: Option<Compress>,
    is_best: bool,
    /// Of the content; it counts its bytes, too.
    check_sum: Crc,
    /// Bytes that are added at the start.
    padding: u16,
    /// Whether there is no output yet.
    is_new: bool,
}

impl Stream {
    pub(super) fn new(options: EncoderOptions) -> Self {
        let deflate = match options.is_best {
            true => Compress::new(Compression::new(BEST_LEVEL), false),
            false => (POOL.take()).unwrap_or_else(|| Compress::new(Compression::new(LEVEL), false)),
        };
        Self {
            deflate: Some(deflate),
            is_best: options.is_best,
            check_sum: Crc::new(),
            padding: options.padding,
            is_new: true,
        }
    }

    pub(super) fn run(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        then: Then,
    ) -> Result<(), EncoderError> {
        let deflate = (self.deflate.as_mut()).ok_or(EncoderError("the stream has failed"))?;
        if std::mem::take(&mut self.is_new) {
            push_header(out, usize::from(self.padding));
        }
        self.check_sum.update(input);
        if compress(deflate, input, out, then).is_err() {
            self.deflate = None;
            return Err(EncoderError("deflate has failed"));
        }
        if then == Then::Finish {
            out.extend_from_slice(&self.check_sum.sum().to_le_bytes());
            out.extend_from_slice(&self.check_sum.amount().to_le_bytes());
        }
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(mut deflate) = self.deflate.take()
            && !self.is_best
        {
            deflate.reset();
            POOL.put(deflate);
        }
    }
}

fn compress(
    deflate: &mut Compress,
    mut input: &[u8],
    out: &mut Vec<u8>,
    then: Then,
) -> Result<(), flate2::CompressError> {
    let flush = match then {
        Then::Continue => FlushCompress::None,
        Then::Flush => FlushCompress::Sync,
        Then::Finish => FlushCompress::Finish,
    };
    loop {
        // With less room than a marker takes, a flush would be marked twice.
        if out.capacity() - out.len() < ROOM / 4 {
            out.reserve(ROOM);
        }
        let taken = deflate.total_in();
        let status = deflate.compress_vec(input, out, flush)?;
        input = &input[(deflate.total_in() - taken) as usize..];
        let is_done = match then {
            Then::Continue => input.is_empty(),
            Then::Flush => input.is_empty() && out.len() < out.capacity(),
            Then::Finish => status == Status::StreamEnd,
        };
        if is_done || status == Status::BufError && then != Then::Finish {
            return Ok(());
        }
    }
}

/// A header without a time and a name. The padding is a comment, which ends with a 0.
fn push_header(out: &mut Vec<u8>, padding: usize) {
    const HAS_COMMENT: u8 = 1 << 4;
    const UNKNOWN_SYSTEM: u8 = 255;
    let flags = if padding > 0 { HAS_COMMENT } else { 0 };
    out.extend_from_slice(&[0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, UNKNOWN_SYSTEM]);
    if padding > 0 {
        out.resize(out.len() + padding - 1, b'-');
        out.push(0);
    }
}
