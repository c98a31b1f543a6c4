//! Compression of responses: which of them are encoded, in which content coding, and the encoders.
//!
//! Bytes and heads in, bytes and heads out; the caller holds sockets, files and threads.
#![forbid(unsafe_code)]

mod coding;
pub use coding::Coding;

mod rules;
pub use rules::CompressRules;

mod head;
pub use head::{add_vary, apply_head, match_tag, weaken_tag};

mod encoder;
pub use encoder::{Encoder, EncoderError, EncoderOptions, encode, encode_best};
