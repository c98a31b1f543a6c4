//! A worker that has not been reaped, as the supervisor's main loop holds it.

use crate::channels::control::ControlSender;
use crate::channels::status::{StatusMessage, StatusReceiver};
use crate::supervisor::{Event, ReplaceReason, Request};

/// See the module.
pub(crate) struct WorkerProcess {
    pub(crate) slot: usize,
    pub(crate) status: StatusReceiver,
    pub(crate) control: ControlSender,
    /// The fork server that forked it.
    pub(crate) fork_server: Option<u32>,
}

impl WorkerProcess {
    /// The messages since the last call, as events.
    pub(crate) fn read(&mut self, pid: u32) -> impl Iterator<Item = Event> {
        let messages = self.status.read().into_iter();
        messages.filter_map(move |message| event(pid, message))
    }
}

fn event(pid: u32, message: StatusMessage) -> Option<Event> {
    Some(match message {
        StatusMessage::Ready => Event::Ready { pid },
        StatusMessage::Heartbeat => Event::Heartbeat { pid },
        StatusMessage::Serving => Event::Serving { pid },
        StatusMessage::Stuck => Event::Stuck { pid },
        StatusMessage::StuckThread => Event::ReplaceWanted {
            pid,
            reason: ReplaceReason::StuckThread,
        },
        StatusMessage::Retiring => Event::ReplaceWanted {
            pid,
            reason: ReplaceReason::Asked,
        },
        StatusMessage::Exiting => Event::Exiting { pid },
        StatusMessage::BootFailed { code, text } => Event::BootFailed { pid, code, text },
        StatusMessage::Requested {
            request: request @ (Request::Reload | Request::Terminate),
            ..
        } => Event::Requested(request),
        // Only fork servers and the admin process send these.
        StatusMessage::Forked { .. }
        | StatusMessage::ForkFailed { .. }
        | StatusMessage::Requested { .. } => return None,
    })
}
