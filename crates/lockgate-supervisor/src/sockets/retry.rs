//! Binding with retries: at startup an address may still be in use by the previous server, which closes its sockets when
//! it begins to drain.

use std::thread::sleep;
use std::time::{Duration, Instant};

use lockgate_config::Config;
use lockgate_observe::{GunicornEvent, Level};

use super::bind_error::BindFailure;
use super::{Listener, bind};
use crate::Hooks;

/// As in gunicorn.
const RETRY_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Like [`bind`], with retries. Retries are logged in one line.
pub(crate) fn bind_with_retry(
    config: &Config,
    present: &[Listener],
    hooks: &dyn Hooks,
) -> Result<Vec<Listener>, BindFailure> {
    let give_up_at = Instant::now() + RETRY_TIMEOUT;
    let mut is_logged = false;
    loop {
        match bind(config, hooks.worker_identity(), present) {
            Err(failure) if failure.is_in_use() && Instant::now() < give_up_at => {
                if !is_logged {
                    let (address, seconds) = (&failure.address, RETRY_TIMEOUT.as_secs());
                    let message = format!("{address} is in use: trying again for {seconds} s");
                    let event = GunicornEvent::ConnectionInUse {
                        address: failure.gunicorn_address(),
                    };
                    hooks.log_as(&event, Level::Warning, &message);
                    is_logged = true;
                }
                sleep(RETRY_INTERVAL);
            }
            outcome => return outcome,
        }
    }
}
