//! zstd (RFC 8878).

use zstd::zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd::zstd_safe::{
    CCtx, CParameter, InBuffer, OutBuffer, ResetDirective, compress_bound, get_error_name,
};

use super::pool::Pool;
use super::{EncoderError, EncoderOptions, ROOM, Then};

const LEVEL: i32 = 3;
const BEST_LEVEL: i32 = 19;

/// The window of a stream whose length is not known, as a power of two: 256 KiB. Level 3 would take 2 MiB, here and in
/// the client, for each of many streams of small events.
const STREAM_WINDOW: u32 = 18;

/// Browsers refuse windows above 8 MiB (RFC 9659).
const WIDEST_WINDOW: u32 = 23;

/// Bodies of up to this length have small tables, which stay in the processor's cache: 20 and 60 KB of text take 11 and
/// 22 % less time, and become 0.1 and 0.3 % larger.
const SMALL_TABLES_UP_TO: u64 = 128 << 10;

/// Entries of small tables, as a power of two.
const SMALL_TABLE: u32 = 14;

static POOL: Pool<CCtx<'static>> = Pool::new();

/// See the module.
pub(super) struct Stream {
    /// `None` after an error.
    context: Option<CCtx<'static>>,
    is_best: bool,
    /// Bytes that are added at the start.
    padding: u16,
    /// Whether there is no output yet.
    is_new: bool,
}

impl Stream {
    pub(super) fn new(options: EncoderOptions) -> Self {
        let kept = if options.is_best { None } else { POOL.take() };
        let mut context = kept.unwrap_or_else(CCtx::create);
        let is_set = set(&mut context, options).is_ok();
        Self {
            context: is_set.then_some(context),
            is_best: options.is_best,
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
        let context = (self.context.as_mut()).ok_or(EncoderError("the stream has failed"))?;
        let start = out.len();
        if self.is_new && then == Then::Finish {
            // With room for the worst case nothing is copied inside.
            out.reserve(compress_bound(input.len()));
        }
        let outcome = compress(context, input, out, then);
        if outcome.is_err() {
            self.context = None;
            return outcome;
        }
        if self.is_new && out.len() > start {
            self.is_new = false;
            pad(out, start, usize::from(self.padding));
        }
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let Some(mut context) = self.context.take() else {
            return;
        };
        if !self.is_best && context.reset(ResetDirective::SessionOnly).is_ok() {
            POOL.put(context);
        }
    }
}

fn set(context: &mut CCtx<'_>, options: EncoderOptions) -> Result<usize, usize> {
    let (level, widest) = match options.is_best {
        true => (BEST_LEVEL, WIDEST_WINDOW),
        // 0: the window of the level, and no more than the length takes.
        false => (
            LEVEL,
            if options.length.is_some() {
                0
            } else {
                STREAM_WINDOW
            },
        ),
    };
    context.set_parameter(CParameter::CompressionLevel(level))?;
    context.set_parameter(CParameter::WindowLog(widest))?;
    let is_small = (options.length).is_some_and(|length| length <= SMALL_TABLES_UP_TO);
    // 0: what the level has.
    let table = if is_small && !options.is_best {
        SMALL_TABLE
    } else {
        0
    };
    context.set_parameter(CParameter::HashLog(table))?;
    context.set_parameter(CParameter::ChainLog(table))?;
    context.set_pledged_src_size(options.length)
}

fn compress(
    context: &mut CCtx<'_>,
    input: &[u8],
    out: &mut Vec<u8>,
    then: Then,
) -> Result<(), EncoderError> {
    let directive = match then {
        Then::Continue => ZSTD_EndDirective::ZSTD_e_continue,
        Then::Flush => ZSTD_EndDirective::ZSTD_e_flush,
        Then::Finish => ZSTD_EndDirective::ZSTD_e_end,
    };
    let mut input = InBuffer::around(input);
    loop {
        if out.capacity() - out.len() < ROOM / 4 {
            out.reserve(ROOM);
        }
        let end = out.len();
        let left = context
            .compress_stream2(&mut OutBuffer::around_pos(out, end), &mut input, directive)
            .map_err(|code| EncoderError(get_error_name(code)))?;
        let is_done = match then {
            Then::Continue => input.pos() == input.src.len(),
            Then::Flush | Then::Finish => left == 0,
        };
        if is_done {
            return Ok(());
        }
    }
}

/// Makes the frame that begins at `start` longer, without a second frame, which some clients do not expect: a
/// dictionary id of 0, which means none, has one or two bytes (RFC 8878 §3.1.1.1.3), and a raw block without content
/// has three, all of them 0 (§3.1.1.2).
fn pad(out: &mut Vec<u8>, start: usize, padding: usize) {
    const DESCRIPTOR: usize = 4;
    let Some(descriptor) = out.get_mut(start + DESCRIPTOR).filter(|_| padding > 0) else {
        return;
    };
    let is_single_segment = *descriptor & 0x20 != 0;
    let size_length = match *descriptor >> 6 {
        0 => usize::from(is_single_segment),
        flag => 1 << flag,
    };
    // Without a dictionary libzstd leaves the flag at 0.
    let id_length = padding % 3;
    *descriptor |= id_length as u8;
    let id_at = start + DESCRIPTOR + 1 + usize::from(!is_single_segment);
    insert_zeros(out, id_at, id_length);
    insert_zeros(out, id_at + id_length + size_length, padding - id_length);
}

fn insert_zeros(out: &mut Vec<u8>, at: usize, count: usize) {
    out.splice(at..at, std::iter::repeat_n(0, count));
}
