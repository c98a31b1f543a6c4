//! Decoder of the Huffman code (RFC 7541 §5.2, appendix B).
//!
//! The code is canonical, so that the lengths of its words give everything. Words of up to 8 bits, which are all that
//! fields usually have, are found in a table of 512 bytes; longer ones by their range.

use super::decoder::DecodeError;

/// Words of up to this length are in `SHORT_WORDS`.
const SHORT: u32 = 8;

/// The length of the longest words.
const LONGEST: u32 = 30;

/// The length of each symbol's word in bits, EOS included.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
     6, 10, 10, 12, 13,  6,  8, 11, 10, 10,  8, 11,  8,  6,  6,  6,
     5,  5,  5,  6,  6,  6,  6,  6,  6,  6,  7,  8, 15,  6, 12, 10,
    13,  6,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,
     7,  7,  7,  7,  7,  7,  7,  7,  8,  7,  8, 13, 19, 13, 14,  6,
    15,  5,  6,  5,  6,  5,  6,  6,  6,  5,  7,  7,  6,  6,  6,  5,
     6,  7,  6,  5,  5,  6,  7,  7,  7,  7,  7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// The words of one length.
#[derive(Clone, Copy)]
struct Range {
    /// The first word.
    first: u32,
    /// The last word, followed by ones up to 32 bits.
    last: u32,
    /// Where `SYMBOLS` has the symbol of the first word.
    place: usize,
}

/// The words of each length. A length without words has the `last` of the length before it.
static RANGES: [Range; LONGEST as usize + 1] = {
    let mut ranges = [Range {
        first: 0,
        last: 0,
        place: 0,
    }; LONGEST as usize + 1];
    let mut word = 0_u64;
    let mut place = 0;
    let mut length = 1;
    while length <= LONGEST as usize {
        word <<= 1;
        ranges[length].first = word as u32;
        ranges[length].place = place;
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                word += 1;
                place += 1;
            }
            symbol += 1;
        }
        ranges[length].last = (word << (32 - length)).wrapping_sub(1) as u32;
        length += 1;
    }
    ranges
};

/// All symbols but EOS, in the order of their words.
static SYMBOLS: [u8; 256] = {
    let mut symbols = [0; 256];
    let mut place = 0;
    let mut length = 1;
    while length <= LONGEST as usize {
        let mut symbol = 0;
        while symbol < symbols.len() {
            if LENGTHS[symbol] as usize == length {
                symbols[place] = symbol as u8;
                place += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    symbols
};

/// For the next 8 bits: the length of the word at their beginning (0: it is longer) and its symbol.
static SHORT_WORDS: [(u8, u8); 1 << SHORT] = {
    let mut table = [(0, 0); 1 << SHORT];
    let mut next = 0;
    let mut place = 0;
    while place < SYMBOLS.len() {
        let length = LENGTHS[SYMBOLS[place] as usize];
        let mut copies = 0;
        while length as u32 <= SHORT && copies < 1 << (SHORT - length as u32) {
            table[next] = (length, SYMBOLS[place]);
            next += 1;
            copies += 1;
        }
        place += 1;
    }
    table
};

/// Appends what `encoded` stands for.
pub(super) fn decode(encoded: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    // No word is shorter than 5 bits.
    out.reserve(encoded.len() * 8 / 5);
    let mut input = encoded;
    // The next bits of the input, at the top; those below `count` are incomplete.
    let mut bits = 0_u64;
    let mut count = 0_u32;
    while let Some((next, _)) = input.split_first_chunk() {
        bits |= u64::from_be_bytes(*next) >> count;
        let taken = (63 - count) / 8;
        input = &input[taken as usize..];
        count += taken * 8;
        while count >= LONGEST {
            let (length, symbol) = first_word(bits)?;
            out.push(symbol);
            bits <<= length;
            count -= length;
        }
    }
    loop {
        while count <= 56
            && let Some((&next, rest)) = input.split_first()
        {
            bits |= u64::from(next) << (56 - count);
            count += 8;
            input = rest;
        }
        let padded = bits | u64::MAX.checked_shr(count).unwrap_or(0);
        // RFC 7541 §5.2: padding is the beginning of EOS, and shorter than a byte.
        if count < 8 && padded == u64::MAX {
            return Ok(());
        }
        let (length, symbol) = first_word(padded)?;
        if length > count {
            return Err(DecodeError::InvalidHuffmanCode);
        }
        out.push(symbol);
        bits <<= length;
        count -= length;
    }
}

/// The word at the beginning of `bits`: its length and its symbol.
#[inline(always)]
fn first_word(bits: u64) -> Result<(u32, u8), DecodeError> {
    let (length, symbol) = SHORT_WORDS[(bits >> (64 - SHORT)) as usize];
    if length > 0 {
        return Ok((length.into(), symbol));
    }
    first_long_word(bits)
}

fn first_long_word(bits: u64) -> Result<(u32, u8), DecodeError> {
    let word = (bits >> 32) as u32;
    let longer = RANGES.iter().zip(0..).skip(SHORT as usize + 1);
    for (range, length) in longer {
        if word <= range.last {
            let offset = (word >> (32 - length)) - range.first;
            // The one symbol without a place is EOS, which may not occur (RFC 7541 §5.2).
            let symbol = SYMBOLS.get(range.place + offset as usize);
            return match symbol {
                Some(&symbol) => Ok((length, symbol)),
                None => Err(DecodeError::InvalidHuffmanCode),
            };
        }
    }
    Err(DecodeError::InvalidHuffmanCode)
}

/// The coding, for tests.
#[cfg(test)]
pub(super) fn encode(text: &[u8]) -> Vec<u8> {
    let (mut out, mut bits, mut count) = (Vec::new(), 0_u64, 0);
    for &byte in text {
        let length = u32::from(LENGTHS[usize::from(byte)]);
        let range = RANGES[length as usize];
        let place = SYMBOLS.iter().position(|&symbol| symbol == byte);
        let word = range.first + (place.unwrap_or(0) - range.place) as u32;
        bits = bits << length | u64::from(word);
        count += length;
        while count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    if count > 0 {
        out.push((bits << (8 - count)) as u8 | (0xff >> count));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some words of RFC 7541 appendix B, one of each length.
    const WORDS: [(u8, u32, u32); 21] = [
        (48, 5, 0x0),
        (32, 6, 0x14),
        (58, 7, 0x5c),
        (38, 8, 0xf8),
        (33, 10, 0x3f8),
        (39, 11, 0x7fa),
        (35, 12, 0xffa),
        (0, 13, 0x1ff8),
        (94, 14, 0x3ffc),
        (60, 15, 0x7ffc),
        (92, 19, 0x7fff0),
        (128, 20, 0xfffe6),
        (153, 21, 0x1fffdc),
        (129, 22, 0x3fffd2),
        (1, 23, 0x7fffd8),
        (9, 24, 0xffffea),
        (199, 25, 0x1ffffec),
        (192, 26, 0x3ffffe0),
        (203, 27, 0x7ffffde),
        (2, 28, 0xfffffe2),
        (10, 30, 0x3ffffffc),
    ];

    fn decoded(encoded: &[u8]) -> Result<Vec<u8>, DecodeError> {
        let mut out = Vec::new();
        decode(encoded, &mut out).map(|()| out)
    }

    #[test]
    fn words_are_those_of_the_rfc() {
        for (symbol, length, word) in WORDS {
            let bits = u64::from(word) << (64 - length) | u64::MAX >> length;
            assert_eq!(first_word(bits), Ok((length, symbol)));
            let bytes = &bits.to_be_bytes()[..length.div_ceil(8) as usize];
            assert_eq!(encode(&[symbol]), bytes);
        }
    }

    #[test]
    fn each_text_survives() {
        let all: Vec<u8> = (0..=255).collect();
        for length in 1..=all.len() {
            for text in [&all[..length], &all[all.len() - length..]] {
                assert_eq!(decoded(&encode(text)).as_deref(), Ok(text));
            }
        }
        for symbol in 0..=255 {
            for length in 0..40 {
                let text = vec![symbol; length];
                assert_eq!(decoded(&encode(&text)), Ok(text));
            }
        }
    }

    #[test]
    fn padding_is_shorter_than_a_byte_and_all_ones() {
        let invalid = Err(DecodeError::InvalidHuffmanCode);
        for (encoded, expected) in [
            (&[][..], Ok(&b""[..])),
            // The word of "a" is 00011, that of "0" is 00000.
            (&[0b0001_1111], Ok(b"a")),
            (&[0b0001_1110], invalid),
            (&[0b0001_1000], invalid),
            (&[0b0001_1011], invalid),
            // The word of "&" has 8 bits, and no padding.
            (&[0xf8], Ok(b"&")),
            // Padding of 8 bits and more.
            (&[0xff], invalid),
            (&[0xf8, 0xff], invalid),
            (&[0b0001_1111, 0xff], invalid),
            (&[0xff, 0xff, 0xff], invalid),
            // A word of 10 bits (a question mark is 11_1111_1100) that is cut.
            (&[0xff, 0b0011_1111], Ok(b"?")),
            (&[0xff, 0b0000_0000], Ok(b"!0").and(invalid)),
            (&[0xfe, 0b0011_1111], Ok(b"!")),
            (&[0xfe], invalid),
            // EOS: 30 ones.
            (&[0xff, 0xff, 0xff, 0xff], invalid),
            (&[0xff, 0xff, 0xff, 0xfc], invalid),
            (&[0b0001_1111, 0xff, 0xff, 0xff, 0b1110_0011], invalid),
        ] {
            assert_eq!(
                decoded(encoded).as_deref().map_err(|error| *error),
                expected,
                "{encoded:x?}"
            );
        }
    }

    #[test]
    fn padding_and_end_of_string_are_found_behind_a_text_of_each_length() {
        for length in 0..30 {
            let text = vec![b'&'; length];
            let valid = encode(&text);
            for (tail, is_valid) in [
                (&[0b0001_1111][..], true),
                (&[0b0001_1101], false),
                (&[0xff], false),
                (&[0xff, 0xff, 0xff, 0xff], false),
                (
                    &[0xff, 0xff, 0xff, 0xff, 0x1f, 0x1f, 0x1f, 0x1f, 0x1f],
                    false,
                ),
            ] {
                let encoded = [&valid[..], tail].concat();
                assert_eq!(decoded(&encoded).is_ok(), is_valid, "{length} {tail:x?}");
            }
        }
    }
}
