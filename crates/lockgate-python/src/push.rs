//! Held connections and publishing: what Python needs of the broadcast log.

use std::io;
use std::sync::{Mutex, PoisonError};

use lockgate_config::PushConfig;
use lockgate_shm::Log;
use lockgate_supervisor::standalone_broadcast_log;

/// The broadcast log of a program that embeds servers.
static OF_PROGRAM: Mutex<Option<Log>> = Mutex::new(None);

/// The broadcast log of the program's embedded servers. They share one, because `lockgate.publish` names no server; its
/// size is that of the first server with `push`.
///
/// # Errors
/// When the system provides no memory.
pub(crate) fn log_of_program(config: &PushConfig) -> io::Result<Option<Log>> {
    if !config.is_enabled {
        return Ok(None);
    }
    let mut log = OF_PROGRAM.lock().unwrap_or_else(PoisonError::into_inner);
    if log.is_none() {
        *log = Some(standalone_broadcast_log(config)?);
    }
    Ok(*log)
}
