//! The memory of the certificate board, from which workers take certificates and session ticket keys.

use std::io;
use std::os::fd::OwnedFd;

use lockgate_tls::Board;
use rustix::fs::fstat;

use crate::os::{map_words, shared_memory};

/// A new board. Made before the first fork, so that all processes share the memory.
pub(super) fn create() -> io::Result<(Board, OwnedFd)> {
    let memory = shared_memory(Board::WORDS)?;
    Ok((Board::new(map_words(&memory, Board::WORDS)?), memory))
}

/// The board in memory that the previous program in this process has made.
pub(crate) fn inherit(memory: OwnedFd) -> io::Result<(Board, OwnedFd)> {
    let bytes = usize::try_from(fstat(&memory)?.st_size).map_err(io::Error::other)?;
    let words = map_words(&memory, bytes / size_of::<u64>())?;
    Ok((Board::new(words), memory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_program_maps_the_same_board() {
        let (board, memory) = create().unwrap();
        let (inherited, _memory) = inherit(memory).unwrap();
        assert_eq!(inherited.version(), board.version());
        board.publish(&lockgate_tls::Material::default()).unwrap();
        assert_eq!(inherited.version(), board.version());
        assert!(inherited.read().is_some());
    }
}
