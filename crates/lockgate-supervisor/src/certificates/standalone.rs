//! Certificates for a worker in a process without a supervisor: read once, on a board of their own.

use std::sync::atomic::AtomicU64;
use std::time::Instant;

use lockgate_config::Config;
use lockgate_tls::{Board, Material, TicketKeys};

use super::loading::LoadedCertificate;
use super::pool::Pool;
use super::session_tickets;
use super::settings;
use super::wanted::Wanted;

/// The board of a worker that has no supervisor. Its memory stays allocated when the worker has ended; the keys do not
/// stay in it.
#[derive(Debug)]
pub struct StandaloneCertificates {
    board: Board,
}

impl StandaloneCertificates {
    /// Loads the certificates of the settings. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// Each with the setting, its value and what is wrong.
    pub fn load(config: &Config, now: i64) -> Result<Self, Vec<String>> {
        settings::check_certificates(config)
            .map_err(|errors| Vec::from_iter(errors.iter().map(ToString::to_string)))?;
        let (mut pool, wanted) = (Pool::default(), Wanted::of(config));
        pool.add(&wanted, None, Instant::now())
            .map_err(|errors| vec![settings::joined(&errors)])?;
        let mut ticket_keys = TicketKeys::default();
        session_tickets::rotate_if_due(&mut ticket_keys, now)
            .map_err(|error| vec![format!("no random bytes for session tickets: {error}")])?;
        let loaded: Vec<&LoadedCertificate> = pool.of(&wanted).collect();
        let material = Material {
            certificates: loaded.iter().map(|one| one.source().clone()).collect(),
            origins: loaded.iter().map(|one| one.origin.clone()).collect(),
            ticket_keys,
            challenges: Vec::new(),
        };
        let words = (0..Board::words_for(&material)).map(|_| AtomicU64::new(0));
        let board = Board::new(Box::leak(words.collect::<Box<[AtomicU64]>>()));
        board
            .publish(&material)
            .map_err(|error| vec![error.to_string()])?;
        Ok(Self { board })
    }

    /// The board.
    pub fn board(&self) -> Board {
        self.board
    }
}

impl Drop for StandaloneCertificates {
    fn drop(&mut self) {
        // An empty material is not larger than the one before.
        let _erased = self.board.publish(&Material::default());
    }
}
