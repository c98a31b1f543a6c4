//! Compression: which coding a response gets, and the encoders of zstd, Brotli and gzip.
#![forbid(unsafe_code)]
