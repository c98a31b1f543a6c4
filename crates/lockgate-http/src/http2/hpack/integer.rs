//! Integers (RFC 7541 §5.1).

use super::decoder::DecodeError;

/// Continuation bytes of an integer at most: 28 bits, more than a length, an index or a table size may have.
const CONTINUATION_LIMIT: usize = 4;

/// Reads the rest of an integer whose first byte is `first`, with a prefix of `prefix_bits`.
pub(super) fn decode(first: u8, prefix_bits: u32, input: &mut &[u8]) -> Result<usize, DecodeError> {
    let most = (1 << prefix_bits) - 1;
    let prefix = usize::from(first) & most;
    if prefix < most {
        return Ok(prefix);
    }
    let mut value = most;
    for (count, &byte) in input.iter().enumerate().take(CONTINUATION_LIMIT) {
        value += usize::from(byte & 0x7f) << (7 * count);
        if byte < 0x80 {
            *input = &input[count + 1..];
            return Ok(value);
        }
    }
    if input.len() < CONTINUATION_LIMIT {
        return Err(DecodeError::Truncated);
    }
    Err(DecodeError::IntegerTooLarge)
}

/// Writes `value`; the bits of the first byte above the prefix are those of `pattern`.
pub(super) fn encode(value: usize, prefix_bits: u32, pattern: u8, out: &mut Vec<u8>) {
    let most = (1 << prefix_bits) - 1;
    if value < most {
        out.push(pattern | value as u8);
        return;
    }
    out.push(pattern | most as u8);
    let mut rest = value - most;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most that four continuation bytes add to the prefix.
    const MOST: usize = (1 << 28) - 1;

    #[test]
    fn examples_of_the_rfc() {
        // RFC 7541 appendix C.1.
        for (value, prefix_bits, expected) in [
            (10, 5, &[0b01010][..]),
            (1337, 5, &[0b11111, 0b1001_1010, 0b0000_1010]),
            (42, 8, &[0b0010_1010]),
        ] {
            let mut out = Vec::new();
            encode(value, prefix_bits, 0, &mut out);
            assert_eq!(out, expected);
            let mut rest = &out[1..];
            assert_eq!(decode(out[0], prefix_bits, &mut rest), Ok(value));
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn values_around_each_boundary_survive_with_each_prefix() {
        for prefix_bits in 1..=8 {
            let most = (1 << prefix_bits) - 1;
            let edges = [
                0,
                1,
                most,
                most + 0x7f,
                most + 0x3fff,
                most + 0x1f_ffff,
                most + MOST,
            ];
            for value in edges
                .into_iter()
                .flat_map(|edge: usize| [edge.saturating_sub(1), edge])
            {
                let mut out = Vec::new();
                encode(value, prefix_bits, 0, &mut out);
                out.push(0xaa);
                let mut rest = &out[1..];
                // Bits above the prefix do not count.
                let first = out[0] | !(most as u8);
                assert_eq!(decode(first, prefix_bits, &mut rest), Ok(value));
                assert_eq!(rest, [0xaa]);
            }
        }
    }

    #[test]
    fn a_value_may_be_padded_with_zeros_up_to_the_limit() {
        for (continuation, expected) in [
            (&[0x00][..], Ok(31)),
            (&[0x80, 0x00], Ok(31)),
            (&[0x81, 0x80, 0x80, 0x00], Ok(32)),
            (
                &[0x80, 0x80, 0x80, 0x80, 0x00],
                Err(DecodeError::IntegerTooLarge),
            ),
            (&[0xff, 0xff, 0xff, 0x7f], Ok(31 + MOST)),
            (
                &[0xff, 0xff, 0xff, 0xff, 0x00],
                Err(DecodeError::IntegerTooLarge),
            ),
            (&[0xff; 11], Err(DecodeError::IntegerTooLarge)),
            (&[], Err(DecodeError::Truncated)),
            (&[0x80], Err(DecodeError::Truncated)),
            (&[0xff, 0xff, 0xff], Err(DecodeError::Truncated)),
        ] {
            assert_eq!(
                decode(0xff, 5, &mut { continuation }),
                expected,
                "{continuation:x?}"
            );
        }
    }
}
