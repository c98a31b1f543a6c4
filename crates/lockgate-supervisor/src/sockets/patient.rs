//! Binding at startup: an address in use is retried for some seconds. A server that is restarted without a service
//! manager meets its predecessor, which closes its sockets when it begins to drain.

use std::thread::sleep;
use std::time::{Duration, Instant};

use lockgate_config::Config;
use lockgate_observe::Level;

use super::{BindFailure, Listener, bind};
use crate::Hooks;

/// The same as gunicorn.
const LONGEST: Duration = Duration::from_secs(5);
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(100);

/// Like [`bind`], with retries. Retries are logged in one line.
pub(crate) fn bind_patiently(
    config: &Config,
    present: &[Listener],
    hooks: &dyn Hooks,
) -> Result<Vec<Listener>, BindFailure> {
    let give_up_at = Instant::now() + LONGEST;
    let mut is_told = false;
    loop {
        match bind(config, hooks.worker_identity(), present) {
            Err(failure) if failure.is_in_use() && Instant::now() < give_up_at => {
                if !is_told {
                    let (address, seconds) = (&failure.address, LONGEST.as_secs());
                    let message = format!("{address} is in use: trying again for {seconds} s");
                    hooks.log(Level::Warning, &message);
                    is_told = true;
                }
                sleep(BETWEEN_ATTEMPTS);
            }
            outcome => return outcome,
        }
    }
}
