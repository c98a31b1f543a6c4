//! A check of UTF-8 over parts, which fails with the first byte that no character can have.

/// The unfinished character at the end of the checked bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Utf8Check {
    bytes: [u8; 4],
    length: usize,
}

impl Utf8Check {
    /// Whether the text may still be UTF-8 with `part` at its end.
    pub(crate) fn push(&mut self, part: &[u8]) -> bool {
        let mut part = part;
        while self.length > 0 {
            let Some((&byte, rest)) = part.split_first() else {
                return true;
            };
            part = rest;
            self.bytes[self.length] = byte;
            self.length += 1;
            match std::str::from_utf8(&self.bytes[..self.length]) {
                Ok(_) => self.length = 0,
                Err(error) if error.error_len().is_some() => return false,
                Err(_) => {}
            }
        }
        match std::str::from_utf8(part) {
            Ok(_) => true,
            Err(error) if error.error_len().is_some() => false,
            Err(error) => {
                let tail = &part[error.valid_up_to()..];
                self.bytes[..tail.len()].copy_from_slice(tail);
                self.length = tail.len();
                true
            }
        }
    }
}
