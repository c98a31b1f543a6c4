//! Numbers as hexadecimal digits in lower case, of a fixed length.

/// 32 digits.
#[inline]
pub fn encode_128(number: u128) -> [u8; 32] {
    let mut text = [0; 32];
    text[..16].copy_from_slice(&encode_64((number >> 64) as u64));
    text[16..].copy_from_slice(&encode_64(number as u64));
    text
}

/// 16 digits.
#[inline]
pub fn encode_64(number: u64) -> [u8; 16] {
    let mut text = [0; 16];
    text[..8].copy_from_slice(&encode_32((number >> 32) as u32));
    text[8..].copy_from_slice(&encode_32(number as u32));
    text
}

/// All digits at once: each nibble gets a byte, and those above 9 are moved to the letters.
fn encode_32(number: u32) -> [u8; 8] {
    let mut nibbles = u64::from(number);
    nibbles = (nibbles | nibbles << 16) & 0x0000_ffff_0000_ffff;
    nibbles = (nibbles | nibbles << 8) & 0x00ff_00ff_00ff_00ff;
    nibbles = (nibbles | nibbles << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let is_letter = ((nibbles + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    let digits = nibbles + 0x3030_3030_3030_3030 + is_letter * u64::from(b'a' - b'9' - 1);
    digits.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_formatter_writes_them() {
        // A step that is odd and irregular, so that all digits occur at all places.
        let numbers = (0..1000_u64).map(|index| index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for number in numbers.chain([1, 9, 10, 0x0a0b, u64::MAX]) {
            assert_eq!(encode_64(number), format!("{number:016x}").as_bytes());
            let wide = u128::from(number) << 64 | u128::from(!number);
            assert_eq!(encode_128(wide), format!("{wide:032x}").as_bytes());
        }
    }
}
