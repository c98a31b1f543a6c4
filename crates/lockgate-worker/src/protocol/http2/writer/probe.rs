//! The client and the deadline of a stream.

use std::os::fd::BorrowedFd;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::event::{PollFd, Timespec, poll};

use super::StreamWriter;
use crate::exchange::deadlines::call_slot::CallSlot;
use crate::exchange::deadlines::ending::{ClientSocket, Handle, StreamHandle};
use crate::exchange::writer::{
    ClientProbe, ExchangeControl, HeldConnection, Presence, PresenceCheck,
};
use crate::os::{PEER_END, peer_end};
use crate::protocol::http2::shared::Shared;

impl ClientProbe for StreamWriter {
    fn presence(&mut self, check: PresenceCheck) -> Presence {
        let call_slot = self.call_slot.as_ref();
        if call_slot.is_some_and(|call_slot| call_slot.is_expired()) {
            return Presence::Gone;
        }
        if check == PresenceCheck::Socket && self.shared.context.pool.is_single() {
            // No other thread reads what the client has sent.
            self.shared.drive_attached();
        }
        if !self.shared.lock().is_open(self.stream) {
            return Presence::Gone;
        }
        if check == PresenceCheck::Socket && self.has_hung_up() {
            return Presence::Gone;
        }
        Presence::Connected
    }

    fn socket(&self) -> Option<BorrowedFd<'_>> {
        if self.socket.get().is_none() {
            let _first = self.socket.set(self.shared.transport.upgrade()?);
        }
        self.socket.get().map(|transport| transport.descriptor())
    }
}

impl StreamWriter {
    fn has_hung_up(&self) -> bool {
        let Some(transport) = self.shared.transport.upgrade() else {
            return true;
        };
        let descriptor = transport.descriptor();
        let mut watched = [PollFd::from_borrowed_fd(descriptor, PEER_END)];
        let seen = poll(&mut watched, Some(&Timespec::default()));
        seen.is_ok() && peer_end(watched[0].revents()).any()
    }
}

impl ExchangeControl for StreamWriter {
    fn watch_deadline(&mut self, call_slot: &Arc<CallSlot>) {
        let shared: Weak<Shared> = Arc::downgrade(&self.shared);
        let handle: Weak<dyn StreamHandle> = shared;
        let client_socket = ClientSocket {
            handle: Handle::Stream(handle, self.stream),
            is_head_request: self.is_head_request,
            is_output_empty: true,
            request_id: self.request_id.clone(),
        };
        call_slot.set_client_socket(client_socket, self.entry.take());
        if let Some(body) = &self.request_body {
            body.with(|receiver| receiver.watch_deadline(call_slot));
        }
        self.call_slot = Some(Arc::clone(call_slot));
    }

    fn hold(&mut self) -> Option<HeldConnection> {
        if std::mem::replace(&mut self.is_held, true) {
            return None;
        }
        let shared = Arc::clone(&self.shared);
        Some(HeldConnection::new(shared))
    }

    fn record_queue_time(&mut self, queued: Duration) {
        if let Some(entry) = &mut self.entry {
            entry.queued = queued;
        } else if let Some(call_slot) = &self.call_slot {
            call_slot.record_queue_time(queued);
        }
    }

    fn record_environ(&mut self, values: Vec<(String, String)>) {
        if let Some(entry) = &mut self.entry {
            entry.environ = values;
        } else if let Some(call_slot) = &self.call_slot {
            call_slot.record_environ(values);
        }
    }

    fn record_user(&mut self, user: &str) {
        if let Some(entry) = &mut self.entry {
            entry.user = Some(user.into());
        }
    }

    fn skip_access_log(&mut self) {
        if let Some(entry) = &mut self.entry {
            entry.is_skipped = true;
        } else if let Some(call_slot) = &self.call_slot {
            call_slot.skip_access_log();
        }
    }
}
