//! Any bytes, as the header blocks of one connection: nothing panics, and loona-hpack reads the same fields. Each block
//! stands behind its length in one byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lockgate_http::http2::hpack::{DecodeError, Decoder};
use loona_hpack::decoder::DecoderError;

/// Small enough for evictions.
const TABLE_SIZE: u16 = 200;
const LIST_LIMIT: usize = 2_000;

fuzz_target!(|bytes: &[u8]| {
    let mut decoder = Decoder::new(TABLE_SIZE);
    let mut oracle = loona_hpack::Decoder::new();
    oracle.set_max_table_size(TABLE_SIZE.into());
    oracle.set_max_allowed_table_size(TABLE_SIZE.into());
    let mut scratch = Vec::new();
    let mut rest = bytes;
    while let Some((&length, after)) = rest.split_first() {
        let (block, after) = after.split_at(after.len().min(length.into()));
        rest = after;
        let mut fields = Vec::new();
        let result = decoder.decode(block, LIST_LIMIT, &mut scratch, |name, value| {
            fields.push((name.to_vec(), value.to_vec()));
        });
        let size: usize = fields.iter().map(|(n, v)| n.len() + v.len() + 32).sum();
        assert!(size <= LIST_LIMIT);
        // No word of the Huffman code is shorter than 5 bits, and the table bounds names.
        assert!(scratch.len() <= block.len() * 8 / 5 + usize::from(TABLE_SIZE));
        match (result, oracle.decode(block)) {
            (Ok(()), Ok(expected)) => assert_eq!(fields, expected),
            (Err(DecodeError::ListTooLarge), Ok(expected)) => {
                assert!(expected.starts_with(&fields) && fields.len() < expected.len());
            }
            // Valid, if nothing follows: the request lacks its pseudo-header fields.
            (Ok(()), Err(DecoderError::SizeUpdateAtEnd)) if fields.is_empty() => {}
            // The oracle takes a table size update anywhere but at the end, and any number of them.
            (Err(DecodeError::InvalidTableSizeUpdate), _) | (Err(_), Err(_)) => return,
            (ours, theirs) => panic!("{ours:?}, but {theirs:?}: {block:x?}"),
        }
    }
});
