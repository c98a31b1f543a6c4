//! The keys of session tickets: one set for all workers, so that each can resume the sessions of the others.

use std::io;

use lockgate_tls::TicketKeys;
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

/// Makes another current key if it is time to. `now` is in seconds since 1970.
pub(super) fn rotate_if_due(keys: &mut TicketKeys, now: i64) -> io::Result<()> {
    let now = u64::try_from(now).unwrap_or_default();
    if keys.is_empty() || keys.is_due(now) {
        let random = random()?;
        keys.rotate(now, &random);
    }
    Ok(())
}

/// Bytes from the system's random source.
fn random<const COUNT: usize>() -> io::Result<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    let mut filled = 0;
    while filled < COUNT {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
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
            rotate_if_due(&mut keys, now.cast_signed()).unwrap();
            let is_changed = keys != before;
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
