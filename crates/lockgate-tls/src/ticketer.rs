//! Session tickets: the name of the key, a nonce, and the session under AES-256-GCM.
//!
//! Invariant: a ticket is accepted only where the same client certificates would be demanded: the digest of these
//! settings is authenticated with it, so that no session from before a stricter setting is resumed under it.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;

use crate::ticket_keys::{NAME, TicketKeys};

/// Encrypts with the first key, decrypts with each.
pub(crate) struct Ticketer {
    keys: Vec<([u8; NAME], LessSafeKey)>,
    settings: [u8; 32],
}

impl Ticketer {
    pub(crate) fn new(keys: &TicketKeys, settings: [u8; 32]) -> Self {
        let keys = keys.keys().iter().filter_map(|key| {
            let unbound = UnboundKey::new(&AES_256_GCM, &key.secret).ok()?;
            Some((key.name, LessSafeKey::new(unbound)))
        });
        Self {
            keys: keys.collect(),
            settings,
        }
    }

    fn authenticated(&self, name: &[u8; NAME]) -> Aad<[u8; NAME + 32]> {
        let mut bytes = [0; NAME + 32];
        bytes[..NAME].copy_from_slice(name);
        bytes[NAME..].copy_from_slice(&self.settings);
        Aad::from(bytes)
    }
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        !self.keys.is_empty()
    }

    /// A ticket that was made at the end of its key's time lives this long.
    fn lifetime(&self) -> u32 {
        const { TicketKeys::ROTATION as u32 }
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        let (name, key) = self.keys.first()?;
        let mut nonce = [0; NONCE_LEN];
        // Random nonces suffice for 2^32 tickets of one key, which is 99,000 a second for its twelve hours.
        rand::fill(&mut nonce).ok()?;
        let tag_length = AES_256_GCM.tag_len();
        let mut ticket = Vec::with_capacity(NAME + NONCE_LEN + session.len() + tag_length);
        ticket.extend_from_slice(name);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(session);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let text = ticket.get_mut(NAME + NONCE_LEN..)?;
        let tag = key
            .seal_in_place_separate_tag(nonce, self.authenticated(name), text)
            .ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME>()?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>()?;
        let (_, key) = self.keys.iter().find(|(own, _)| own == name)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let mut session = text.to_vec();
        let length = key
            .open_in_place(nonce, self.authenticated(name), &mut session)
            .ok()?
            .len();
        session.truncate(length);
        Some(session)
    }
}

/// Without the keys.
impl fmt::Debug for Ticketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticketer")
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> TicketKeys {
        let mut keys = TicketKeys::default();
        for &byte in bytes {
            keys.rotate(0, &[byte; TicketKeys::RANDOM]);
        }
        keys
    }

    #[test]
    fn a_ticket_is_opened_by_the_keys_it_was_made_for_only() {
        let maker = Ticketer::new(&keys(&[1]), [0; 32]);
        let ticket = maker.encrypt(b"session").unwrap();
        assert_ne!(maker.encrypt(b"session").unwrap(), ticket);
        for (bytes, settings, opens) in [
            (&[1][..], [0; 32], true),
            (&[1, 2], [0; 32], true),
            (&[1, 2, 3], [0; 32], false),
            (&[2], [0; 32], false),
            (&[], [0; 32], false),
            (&[1], [1; 32], false),
        ] {
            let opened = Ticketer::new(&keys(bytes), settings).decrypt(&ticket);
            assert_eq!(opened.is_some(), opens, "{bytes:?}");
            assert!(opened.is_none_or(|session| session == b"session"));
        }
    }

    #[test]
    fn a_ticket_that_was_changed_or_cut_is_refused() {
        let ticketer = Ticketer::new(&keys(&[1]), [0; 32]);
        let ticket = ticketer.encrypt(b"session").unwrap();
        for index in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[index] ^= 1;
            assert_eq!(ticketer.decrypt(&changed), None);
            assert_eq!(ticketer.decrypt(&ticket[..index]), None);
        }
    }

    #[test]
    fn without_a_key_there_are_no_tickets() {
        let ticketer = Ticketer::new(&TicketKeys::default(), [0; 32]);
        assert!(!ticketer.enabled());
        assert_eq!(ticketer.encrypt(b"session"), None);
    }
}
