//! Brotli (RFC 7932).
//!
//! Its encoder cannot be used again for another stream.

use brotli::enc::StandardAlloc;
use brotli::enc::encode::{
    BrotliEncoderOperation, BrotliEncoderParameter, BrotliEncoderStateStruct,
};

use super::{EncoderError, EncoderOptions, Then};

const QUALITY: u32 = 4;
const BEST_QUALITY: u32 = 11;

/// Windows, as powers of two. That of a stream of unknown length is 256 KiB, and that of others no wider than their
/// content and 1 MiB: the encoder takes some five times as much.
const NARROWEST_WINDOW: u32 = 16;
const STREAM_WINDOW: u32 = 18;
const WIDEST_WINDOW: u32 = 20;
/// 16 MiB, the widest that every decoder takes.
const BEST_WINDOW: u32 = 24;

/// See the module.
pub(super) struct Stream {
    encoder: Box<BrotliEncoderStateStruct<StandardAlloc>>,
    /// Bytes that are added at the start.
    padding: usize,
}

impl Stream {
    pub(super) fn new(options: EncoderOptions) -> Self {
        let mut encoder = Box::new(BrotliEncoderStateStruct::new(StandardAlloc::default()));
        let quality = if options.is_best {
            BEST_QUALITY
        } else {
            QUALITY
        };
        encoder.set_parameter(BrotliEncoderParameter::BROTLI_PARAM_QUALITY, quality);
        let window = window(options);
        encoder.set_parameter(BrotliEncoderParameter::BROTLI_PARAM_LGWIN, window);
        let hint = options.length.unwrap_or(0).min(1 << 30) as u32;
        encoder.set_parameter(BrotliEncoderParameter::BROTLI_PARAM_SIZE_HINT, hint);
        Self {
            encoder,
            padding: usize::from(options.padding),
        }
    }

    pub(super) fn run(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        then: Then,
    ) -> Result<(), EncoderError> {
        match std::mem::take(&mut self.padding) {
            0 => {}
            padding => self.pad(padding, out)?,
        }
        self.operate(
            match then {
                Then::Continue => BrotliEncoderOperation::BROTLI_OPERATION_PROCESS,
                Then::Flush => BrotliEncoderOperation::BROTLI_OPERATION_FLUSH,
                Then::Finish => BrotliEncoderOperation::BROTLI_OPERATION_FINISH,
            },
            input,
            out,
        )
    }

    /// A block of metadata, which decoders skip (RFC 7932 §9.2). Its header takes two or three bytes more. It has two
    /// bytes or more, because the encoder's header for a single one is wrong.
    fn pad(&mut self, padding: usize, out: &mut Vec<u8>) -> Result<(), EncoderError> {
        let content = vec![0; padding + 1];
        self.operate(
            BrotliEncoderOperation::BROTLI_OPERATION_EMIT_METADATA,
            &content,
            out,
        )
    }

    fn operate(
        &mut self,
        operation: BrotliEncoderOperation,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), EncoderError> {
        let (mut left, mut at) = (input.len(), 0);
        loop {
            let is_taken = self.encoder.compress_stream(
                operation,
                &mut left,
                input,
                &mut at,
                &mut 0,
                &mut [],
                &mut 0,
                &mut None,
                &mut |_, _, _, _| (),
            );
            if !is_taken {
                return Err(EncoderError("the Brotli encoder has failed"));
            }
            let is_idle = !self.encoder.has_more_output();
            while self.encoder.has_more_output() {
                // 0: all there is. The slice goes on behind it.
                let mut count = 0;
                let output = self.encoder.take_output(&mut count);
                out.extend_from_slice(&output[..count]);
            }
            let is_done = match operation {
                BrotliEncoderOperation::BROTLI_OPERATION_FINISH => self.encoder.is_finished(),
                // Only then it accepts another operation.
                BrotliEncoderOperation::BROTLI_OPERATION_EMIT_METADATA => left == 0 && is_idle,
                _ => left == 0,
            };
            if is_done {
                return Ok(());
            }
        }
    }
}

fn window(options: EncoderOptions) -> u32 {
    let Some(length) = options.length else {
        return if options.is_best {
            BEST_WINDOW
        } else {
            STREAM_WINDOW
        };
    };
    // 16 bytes of a window cannot be used (RFC 7932 §9.1).
    let covering = u64::BITS - (length + 15).leading_zeros();
    let widest = if options.is_best {
        BEST_WINDOW
    } else {
        WIDEST_WINDOW
    };
    covering.clamp(NARROWEST_WINDOW, widest)
}
