//! The keys of session tickets: one set for all workers, so that each can resume the sessions of the others.

use std::io;

use lockgate_tls::TicketKeys;

use crate::os::fill_random;

/// Makes another current key if it is time to; returns whether it has. `now` is in seconds since 1970.
pub(super) fn rotate_if_due(keys: &mut TicketKeys, now: i64) -> io::Result<bool> {
    let now = u64::try_from(now).unwrap_or_default();
    let is_due = keys.is_empty() || keys.is_due(now);
    if is_due {
        let random = random()?;
        keys.rotate(now, &random);
    }
    Ok(is_due)
}

/// Bytes from the system's random source.
fn random<const COUNT: usize>() -> io::Result<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    fill_random(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_rotated_when_it_is_time() {
        let mut keys = TicketKeys::default();
        let mut before = keys.clone();
        let mut is_changed = |now: u64| {
            let is_changed = rotate_if_due(&mut keys, now.cast_signed()).unwrap();
            assert_eq!(is_changed, keys != before);
            before = keys.clone();
            is_changed
        };
        assert!(is_changed(1000));
        assert!(!is_changed(1001));
        assert!(!is_changed(1000 + TicketKeys::ROTATION - 1));
        assert!(is_changed(1000 + TicketKeys::ROTATION));
        let random: [[u8; 32]; 2] = [random().unwrap(), random().unwrap()];
        assert_ne!(random[0], random[1]);
    }
}
