//! How output is cut into records: full ones where there is enough, and small pieces together.

use std::io::IoSlice;

use super::scratch::RECORD;

/// Pieces of output that are cut into records.
pub(super) struct Pieces<'p> {
    pieces: &'p [IoSlice<'p>],
    /// Bytes of the first piece that are done.
    offset: usize,
}

/// The plaintext of some records.
pub(super) enum Record<'p> {
    /// Full records, and the end of the output, need no copy.
    Borrowed(&'p [u8]),
    /// Pieces were copied together; this many bytes.
    Gathered(usize),
}

impl<'p> Pieces<'p> {
    pub(super) fn new(pieces: &'p [IoSlice<'p>]) -> Self {
        Self { pieces, offset: 0 }
    }

    /// The next full records of a large piece, or pieces that together are one record at most.
    pub(super) fn next_record(&mut self, plain: &mut [u8], limit: usize) -> Option<Record<'p>> {
        let rest = self.rest()?;
        if rest.len() >= RECORD || self.pieces.len() == 1 {
            let mut length = rest.len().min(limit);
            if length > RECORD && self.pieces.len() > 1 {
                // The remainder of this piece shares a record with the next.
                length -= length % RECORD;
            }
            self.offset += length;
            return Some(Record::Borrowed(&rest[..length]));
        }
        let room = RECORD.min(limit);
        let mut gathered = 0;
        while gathered < room
            && let Some(rest) = self.rest()
        {
            let length = rest.len().min(room - gathered);
            plain[gathered..gathered + length].copy_from_slice(&rest[..length]);
            gathered += length;
            self.offset += length;
        }
        Some(Record::Gathered(gathered))
    }

    /// What is left of the first piece that is not used up.
    fn rest(&mut self) -> Option<&'p [u8]> {
        loop {
            let (first, others) = self.pieces.split_first()?;
            let first: &'p [u8] = first;
            if self.offset < first.len() {
                return Some(&first[self.offset..]);
            }
            self.pieces = others;
            self.offset = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lengths: &[usize], limit: usize, wanted: &[usize]) {
        let bytes: Vec<u8> = (0..200_000_u32).map(|at| (at % 251) as u8).collect();
        let mut rest = &bytes[..];
        let mut pieces = Vec::new();
        for &length in lengths {
            let (piece, after) = rest.split_at(length);
            pieces.push(IoSlice::new(piece));
            rest = after;
        }
        let mut plain = vec![0; RECORD];
        let mut cut = Pieces::new(&pieces);
        let (mut done, mut found) = (0, Vec::new());
        while done < limit
            && let Some(record) = cut.next_record(&mut plain, limit - done)
        {
            let record = match record {
                Record::Borrowed(bytes) => bytes,
                Record::Gathered(length) => &plain[..length],
            };
            assert_eq!(record, &bytes[done..done + record.len()], "{lengths:?}");
            done += record.len();
            found.push(record.len());
        }
        assert_eq!(found, wanted, "{lengths:?}");
    }

    #[test]
    fn small_pieces_share_records_and_large_ones_are_not_copied() {
        const R: usize = RECORD;
        check(&[], 4 * R, &[]);
        check(&[0, 0], 4 * R, &[]);
        check(&[5], 4 * R, &[5]);
        check(&[200, 300, 0, 7], 4 * R, &[507]);
        check(&[200, 100_000], 4 * R, &[R, 3 * R]);
        check(&[3 * R + 5, 7], 4 * R, &[3 * R, 12]);
        check(&[3 * R, 7], 4 * R, &[3 * R, 7]);
        check(&[100_000], 4 * R, &[4 * R]);
        check(&[10_000, 10_000], 4 * R, &[R, 20_000 - R]);
        check(&[10_000, 10_000], 12_000, &[12_000]);
        check(&[0, R, 1], 4 * R, &[R, 1]);
    }
}
