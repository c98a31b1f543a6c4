//! Decoder of header blocks (RFC 7541 §3, §6).

use super::dynamic_table::{DynamicTable, OVERHEAD};
use super::{huffman, integer, static_table};
use std::fmt;
use std::ops::Range;

/// Table size updates at the beginning of a block at most: the smallest maximum since the last block, and the current
/// one (RFC 7541 §4.2).
const TABLE_SIZE_UPDATES: usize = 2;

/// Decodes the header blocks of one connection, in their order.
#[derive(Debug)]
pub struct Decoder {
    table: DynamicTable,
    /// SETTINGS_HEADER_TABLE_SIZE: the most that a table size update may set.
    max_table_size: u16,
}

/// What is wrong with a header block. All but [`DecodeError::ListTooLarge`] are a COMPRESSION_ERROR of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// The block ends within a field.
    Truncated,
    /// An integer is longer than any that is meaningful.
    IntegerTooLarge,
    /// An index is 0 or beyond the tables.
    InvalidIndex,
    /// A text contains EOS, ends within a code, or has invalid padding.
    InvalidHuffmanCode,
    /// A table size update follows a field, is the third, or exceeds SETTINGS_HEADER_TABLE_SIZE.
    InvalidTableSizeUpdate,
    /// The fields exceed the limit. The block is valid, and the next one may be decoded.
    ListTooLarge,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "a header block ends within a field",
            Self::IntegerTooLarge => "an integer in a header block is too large",
            Self::InvalidIndex => "an index in a header block is beyond the tables",
            Self::InvalidHuffmanCode => "a Huffman code in a header block is invalid",
            Self::InvalidTableSizeUpdate => "a table size update in a header block is invalid",
            Self::ListTooLarge => "the fields of a header block exceed the limit",
        })
    }
}

impl std::error::Error for DecodeError {}

/// A name or a value: a slice of what was received or of a table, or a part of the scratch buffer.
enum Text<'a> {
    Slice(&'a [u8]),
    Scratch(Range<usize>),
}

impl<'a> Text<'a> {
    fn resolve(self, scratch: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Slice(slice) => slice,
            Self::Scratch(range) => &scratch[range],
        }
    }
}

impl Decoder {
    /// A decoder with an empty table. `max_table_size` is the SETTINGS_HEADER_TABLE_SIZE of this side. The table has
    /// this size from the beginning, so other values than the initial one of the protocol, 4096, are for peers that
    /// know it before their first block.
    pub const fn new(max_table_size: u16) -> Self {
        Self {
            table: DynamicTable::new(max_table_size),
            max_table_size,
        }
    }

    /// Decodes one complete header block and passes each field to `field`, name before value.
    ///
    /// `limit` is the maximum size of the field list (RFC 9113 §6.5.2: name, value and 32 bytes for each field). When
    /// it is exceeded, no further field is passed, and the rest of the block is only decoded for the table.
    /// `scratch` is a buffer for what is not contiguous in memory; its contents do not matter.
    ///
    /// # Errors
    ///
    /// After any error but [`DecodeError::ListTooLarge`] the table is unknown, and the connection must end.
    pub fn decode(
        &mut self,
        block: &[u8],
        limit: usize,
        scratch: &mut Vec<u8>,
        mut field: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), DecodeError> {
        let mut left = Some(limit);
        let mut pass = |name: &[u8], value: &[u8]| {
            left = left.and_then(|left| left.checked_sub(name.len() + value.len() + OVERHEAD));
            if left.is_some() {
                field(name, value);
            }
        };
        let mut input = block;
        self.update_table_size(&mut input)?;
        while let Some((&first, rest)) = input.split_first() {
            input = rest;
            match first {
                // Indexed field (RFC 7541 §6.1).
                0x80.. => {
                    let index = integer::decode(first, 7, &mut input)?;
                    let (name, value) = self.indexed(index)?;
                    pass(name, value);
                }
                // Literal field with incremental indexing (§6.2.1).
                0x40.. => {
                    let (name, value) = self.literal(first, 6, &mut input, scratch)?;
                    let (name, value) = (name.resolve(scratch), value.resolve(scratch));
                    pass(name, value);
                    self.table.insert(name, value);
                }
                // Table size update (§6.3): only at the beginning (§4.2).
                0x20.. => return Err(DecodeError::InvalidTableSizeUpdate),
                // Literal field without indexing, or never indexed (§6.2.2, §6.2.3).
                _ => {
                    let (name, value) = self.literal(first, 4, &mut input, scratch)?;
                    pass(name.resolve(scratch), value.resolve(scratch));
                }
            }
        }
        left.map(|_| ()).ok_or(DecodeError::ListTooLarge)
    }

    fn update_table_size(&mut self, input: &mut &[u8]) -> Result<(), DecodeError> {
        let mut updates = 0;
        while let Some((&first @ 0x20..0x40, rest)) = input.split_first() {
            *input = rest;
            updates += 1;
            match u16::try_from(integer::decode(first, 5, input)?) {
                Ok(size) if size <= self.max_table_size && updates <= TABLE_SIZE_UPDATES => {
                    self.table.set_max_size(size);
                }
                _ => return Err(DecodeError::InvalidTableSizeUpdate),
            }
        }
        Ok(())
    }

    /// The field at `index` of both tables.
    fn indexed(&self, index: usize) -> Result<(&[u8], &[u8]), DecodeError> {
        if let Some(field) = static_table::field(index) {
            return Ok(field);
        }
        index
            .checked_sub(static_table::LENGTH + 1)
            .and_then(|index| self.table.field(index))
            .ok_or(DecodeError::InvalidIndex)
    }

    /// Reads a literal field whose first byte, `first`, ends in a prefix of `prefix_bits`.
    fn literal<'i>(
        &self,
        first: u8,
        prefix_bits: u32,
        input: &mut &'i [u8],
        scratch: &mut Vec<u8>,
    ) -> Result<(Text<'i>, Text<'i>), DecodeError> {
        scratch.clear();
        let name = match integer::decode(first, prefix_bits, input)? {
            0 => text(input, scratch)?,
            index => match static_table::field(index) {
                Some((name, _)) => Text::Slice(name),
                None => {
                    // Copied, since the insertion of its own field may evict it (§4.4).
                    let (name, _) = self.indexed(index)?;
                    scratch.extend_from_slice(name);
                    Text::Scratch(0..scratch.len())
                }
            },
        };
        Ok((name, text(input, scratch)?))
    }
}

/// Reads a string literal (RFC 7541 §5.2).
fn text<'i>(input: &mut &'i [u8], scratch: &mut Vec<u8>) -> Result<Text<'i>, DecodeError> {
    let (&first, rest) = input.split_first().ok_or(DecodeError::Truncated)?;
    *input = rest;
    let length = integer::decode(first, 7, input)?;
    let (text, rest) = input
        .split_at_checked(length)
        .ok_or(DecodeError::Truncated)?;
    *input = rest;
    if first & 0x80 == 0 {
        return Ok(Text::Slice(text));
    }
    let start = scratch.len();
    huffman::decode(text, scratch)?;
    Ok(Text::Scratch(start..scratch.len()))
}

#[cfg(test)]
mod tests;
