//! The board: memory in which the supervisor publishes a [`Material`], and which all workers read.
//!
//! Invariant: a reader gets the whole of one material, or nothing: a version protects the words (a sequence lock). It
//! is odd while they are being written.

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::material::Material;

// The words of the board.
const VERSION: usize = 0;
const LENGTH: usize = 1;
const BYTES: usize = 8;

/// How often a reader tries before it keeps what it has; the writer needs microseconds.
const ATTEMPTS: u32 = 100;

/// A copy refers to the same memory. Only one process writes.
#[derive(Debug, Clone, Copy)]
pub struct Board {
    words: &'static [AtomicU64],
}

/// The material does not fit on the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge {
    /// Bytes that are needed.
    pub needed: usize,
    /// Bytes that are there.
    pub available: usize,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "certificates and keys take {} bytes, and {} are available: configure fewer certificates",
            self.needed, self.available
        )
    }
}

impl Error for TooLarge {}

impl Board {
    /// Words of a board for some thousand certificates: 16 MiB, of which only written pages take memory.
    pub const WORDS: usize = 1 << 21;

    /// A board over zeroed memory, with nothing published.
    pub fn new(words: &'static [AtomicU64]) -> Self {
        Self { words }
    }

    /// Words of the smallest board for a material.
    pub fn words_for(material: &Material) -> usize {
        BYTES + material.to_bytes().len().div_ceil(8)
    }

    /// Publishes a material; what was there is overwritten.
    ///
    /// # Errors
    /// It does not fit. The board is unchanged.
    pub fn publish(&self, material: &Material) -> Result<(), TooLarge> {
        let bytes = material.to_bytes();
        let available = self.words.len().saturating_sub(BYTES) * 8;
        if bytes.len() > available {
            return Err(TooLarge {
                needed: bytes.len(),
                available,
            });
        }
        let version = self.words[VERSION].load(Ordering::Relaxed) & !1;
        self.words[VERSION].store(version | 1, Ordering::Relaxed);
        fence(Ordering::Release);
        let before = self.words[LENGTH].swap(bytes.len() as u64, Ordering::Relaxed);
        let before = usize::try_from(before).unwrap_or(0).div_ceil(8);
        let mut chunks = bytes.chunks(8);
        for (index, word) in self.words[BYTES..].iter().enumerate() {
            match chunks.next() {
                Some(chunk) => {
                    let mut whole = [0; 8];
                    whole[..chunk.len()].copy_from_slice(chunk);
                    word.store(u64::from_le_bytes(whole), Ordering::Relaxed);
                }
                // No old key stays behind a shorter material.
                None if index < before => word.store(0, Ordering::Relaxed),
                None => break,
            }
        }
        self.words[VERSION].store(version.wrapping_add(2), Ordering::Release);
        Ok(())
    }

    /// Changes with each publication; 0 before the first.
    #[inline]
    pub fn version(&self) -> u64 {
        self.words
            .first()
            .map_or(0, |version| version.load(Ordering::Acquire))
    }

    /// The material that was published last. `None` before the first one, and when the writer has died while it wrote.
    pub fn read(&self) -> Option<Material> {
        self.read_with_version().map(|(_, material)| material)
    }

    pub(crate) fn read_with_version(&self) -> Option<(u64, Material)> {
        let (version, bytes) = (0..ATTEMPTS).find_map(|_| {
            let copy = self.copy();
            if copy.is_none() {
                std::hint::spin_loop();
            }
            copy
        })?;
        Some((version, Material::from_bytes(&bytes)?))
    }

    fn copy(&self) -> Option<(u64, Vec<u8>)> {
        let version = self.version();
        if version == 0 || !version.is_multiple_of(2) {
            return None;
        }
        let words = self.words.get(BYTES..)?;
        let length = usize::try_from(self.words[LENGTH].load(Ordering::Relaxed)).ok()?;
        let words = words.get(..length.div_ceil(8))?;
        let mut bytes = Vec::with_capacity(words.len() * 8);
        for word in words {
            bytes.extend_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        bytes.truncate(length);
        fence(Ordering::Acquire);
        (self.words[VERSION].load(Ordering::Relaxed) == version).then_some((version, bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::certificate::{CertificateSource, KeyForm};
    use crate::material::Challenge;
    use crate::ticket_keys::TicketKeys;

    fn board(words: usize) -> Board {
        Board::new(Vec::leak((0..words).map(|_| AtomicU64::new(0)).collect()))
    }

    /// A material of which every part depends on `seed`.
    fn material(seed: u8) -> Material {
        let certificate = |extra: usize| CertificateSource {
            chain: vec![vec![seed; 100 + extra], vec![seed; usize::from(seed) * 3]],
            key_form: KeyForm::Pkcs8,
            key: vec![seed; 50],
        };
        Material {
            certificates: (0..usize::from(seed % 5)).map(certificate).collect(),
            origins: (0..seed % 3)
                .map(|part| format!("/{seed}/{part}"))
                .collect(),
            ticket_keys: TicketKeys::new(seed.into(), &[seed; TicketKeys::RANDOM]),
            challenges: vec![Challenge {
                name: format!("host{seed}.example"),
                certificate: certificate(7),
            }],
        }
    }

    #[test]
    fn what_was_published_last_is_read() {
        let board = board(10_000);
        assert_eq!((board.version(), board.read()), (0, None));
        let mut versions = vec![0];
        for seed in [1, 200, 3, 0] {
            board.publish(&material(seed)).unwrap();
            assert_eq!(board.read(), Some(material(seed)));
            assert!(!versions.contains(&board.version()));
            versions.push(board.version());
        }
        board.publish(&Material::default()).unwrap();
        assert_eq!(board.read(), Some(Material::default()));
        let left = board.words[BYTES + 2..]
            .iter()
            .filter(|word| word.load(Ordering::Relaxed) != 0);
        assert_eq!(left.count(), 0, "old keys are overwritten");
    }

    #[test]
    fn a_material_that_does_not_fit_changes_nothing() {
        let board = board(200);
        board.publish(&material(1)).unwrap();
        let version = board.version();
        let error = board.publish(&material(204)).unwrap_err();
        assert_eq!(error.available, 192 * 8);
        assert!(error.needed > error.available);
        assert_eq!(
            (board.version(), board.read()),
            (version, Some(material(1)))
        );
        assert!(super::Board::new(&[]).publish(&material(1)).is_err());
        assert_eq!(super::Board::new(&[]).read(), None);
    }

    #[test]
    fn a_writer_that_died_leaves_nothing_to_read_until_the_next_publication() {
        let board = board(10_000);
        board.publish(&material(1)).unwrap();
        board.words[VERSION].fetch_add(1, Ordering::Relaxed);
        assert_eq!(board.read(), None);
        board.publish(&material(2)).unwrap();
        assert_eq!(board.read(), Some(material(2)));
    }

    #[test]
    fn readers_never_see_two_materials_mixed() {
        let board = board(10_000);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut reads = 0_u64;
                    while !is_over.load(Ordering::Relaxed) || reads == 0 {
                        if let Some(seen) = board.read() {
                            let seed = seen.ticket_keys.to_bytes()[0];
                            assert_eq!(seen, material(seed));
                            reads += 1;
                        }
                    }
                });
            }
            for round in 0..2000_u32 {
                board.publish(&material((round % 97) as u8)).unwrap();
            }
            is_over.store(true, Ordering::Relaxed);
        });
    }
}
