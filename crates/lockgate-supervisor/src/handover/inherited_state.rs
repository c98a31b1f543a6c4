//! Inherited state: the sockets, pipes, memory and workers that the previous program in this process has handed over.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{OwnedFd, RawFd};

use crate::channels::control::ControlSender;
use crate::channels::status::StatusReceiver;
use crate::handover::memories::Memories;
use crate::handover::payload::{Handover, ListenerEntry};
use crate::os::InheritedDescriptors;
use crate::processes::worker_process::WorkerProcess;
use crate::sockets::Listener;
use crate::supervisor::WorkerHandover;

/// See the module.
pub(crate) struct InheritedState {
    pub(crate) generation: u64,
    pub(crate) workers: WorkerHandover,
    pub(crate) lifeline: (OwnedFd, OwnedFd),
    pub(crate) memories: Memories<OwnedFd>,
    /// What begins empty, because the previous program lays out its memory in another way.
    pub(crate) foreign: Vec<String>,
    pub(crate) pid_file: Option<OwnedFd>,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) admin_listeners: Vec<Listener>,
    /// The pid of the admin process.
    pub(crate) admin: Option<u32>,
    pub(crate) processes: HashMap<u32, WorkerProcess>,
}

impl InheritedState {
    /// Takes over what the payload lists. `variable` is the value of [`HANDOVER`](crate::HANDOVER): the number of the
    /// descriptor of the payload.
    ///
    /// # Errors
    /// When the payload is in an unknown format.
    pub(crate) fn take_over(
        variable: &str,
        mut descriptors: InheritedDescriptors,
    ) -> io::Result<Self> {
        let mut take = |number: RawFd| descriptors.take(number);
        let number: RawFd = variable.parse().map_err(io::Error::other)?;
        let mut payload = File::from(take(number)?);
        let mut text = String::new();
        payload.rewind()?;
        payload.read_to_string(&mut text)?;
        let handover =
            Handover::decode(&text).map_err(|error| io::Error::other(error.to_string()))?;
        let mut memories = Memories::new();
        for (memory, number) in handover.memories {
            memories.insert(memory, take(number)?);
        }
        let mut foreign = Vec::new();
        for (title, number) in handover.foreign {
            foreign.push(title);
            drop(take(number)?);
        }
        let mut processes = HashMap::new();
        for worker in &handover.workers {
            let process = WorkerProcess {
                slot: worker.snapshot.slot,
                status: StatusReceiver::from_pipe(take(worker.status)?),
                control: ControlSender::from_pipe(take(worker.control)?),
                fork_server: None,
            };
            processes.insert(worker.snapshot.pid, process);
        }
        let (reading, writing) = handover.lifeline;
        Ok(Self {
            generation: handover.generation,
            workers: WorkerHandover {
                wanted: handover.wanted,
                setting: handover.workers_setting,
                workers: handover
                    .workers
                    .iter()
                    .map(|worker| worker.snapshot)
                    .collect(),
            },
            lifeline: (take(reading)?, take(writing)?),
            memories,
            foreign,
            pid_file: handover.pid_file.map(&mut take).transpose()?,
            listeners: listeners(&handover.listeners, &mut take)?,
            admin_listeners: listeners(&handover.admin_listeners, &mut take)?,
            admin: handover.admin,
            processes,
        })
    }
}

fn listeners(
    entries: &[ListenerEntry],
    take: &mut impl FnMut(RawFd) -> io::Result<OwnedFd>,
) -> io::Result<Vec<Listener>> {
    let listeners = entries.iter();
    listeners
        .map(|entry| Listener::inherited(entry, take(entry.fd)?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_without_a_payload_is_refused() {
        for variable in ["", "x", "-1", "0", "1000000"] {
            assert!(
                InheritedState::take_over(variable, InheritedDescriptors::of_test()).is_err(),
                "{variable:?}"
            );
        }
    }
}
