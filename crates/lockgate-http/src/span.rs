//! Positions of parts in a head.

/// A part of a head: offsets from the first byte of its request line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    /// Offsets stay below 4 GiB: `Limits::head` is capped below.
    #[inline]
    pub(crate) fn new(start: usize, end: usize) -> Self {
        Self {
            start: start as u32,
            end: end as u32,
        }
    }

    /// The position of `part`, a subslice of `bytes`, in it.
    pub(crate) fn within(bytes: &[u8], part: &[u8]) -> Self {
        let start = part.as_ptr().addr().wrapping_sub(bytes.as_ptr().addr());
        Self::new(start, start.wrapping_add(part.len()))
    }

    #[inline]
    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes
            .get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}

/// One field line: its name as sent and its value without surrounding white space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: Span,
    pub(crate) value: Span,
}

impl Field {
    /// The whole line with its CRLF, where the value ends right before it.
    #[inline]
    pub(crate) fn line(self) -> Span {
        Span {
            start: self.name.start,
            end: self.value.end + 2,
        }
    }

    /// Moves the field by `by` bytes, modulo 2^32: so also to the front.
    #[inline]
    pub(crate) fn shift(&mut self, by: u32) {
        for span in [&mut self.name, &mut self.value] {
            span.start = span.start.wrapping_add(by);
            span.end = span.end.wrapping_add(by);
        }
    }
}
