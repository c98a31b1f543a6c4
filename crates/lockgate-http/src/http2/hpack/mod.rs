//! HPACK (RFC 7541): the compression of fields in HTTP/2.
//!
//! The decoder is strict and keeps the dynamic table of one connection. The encoder has no state: it uses the static
//! table and literals without indexing, so that the threads of a connection may encode heads in any order.

mod decoder;
mod encoder;

mod dynamic_table;
mod huffman;
mod integer;
mod static_table;

pub use decoder::{DecodeError, Decoder};
pub use encoder::{encode_empty_table, encode_field, encode_status};

#[cfg(test)]
mod examples;
