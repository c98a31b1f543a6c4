//! Frames that carry neither heads nor data (RFC 9113 §6.3 to §6.9, RFC 9218 §7.1).

use super::{Connection, Progress, TableUpdate};
use crate::http2::connection_error::ConnectionError;
use crate::http2::error_code::ErrorCode;
use crate::http2::event::Event;
use crate::http2::frame::{FrameHead, FrameKind, StreamId, flags, push_frame};
use crate::http2::priority::Priority;
use crate::http2::settings::TABLE_SIZE;
use crate::http2::streams::{Closed, StreamState};

type Taken = Result<Option<Event<'static>>, ConnectionError>;

impl Connection {
    pub(super) fn take_control_frame(
        &mut self,
        frame: FrameHead,
        payload: &[u8],
        control: &mut Vec<u8>,
    ) -> Taken {
        self.budgets.count_control(1)?;
        match frame.kind {
            FrameKind::WindowUpdate => self.take_window_update(frame, payload, control),
            FrameKind::RstStream => self.take_reset(frame, payload),
            FrameKind::Settings => self.take_settings(frame, payload, control),
            FrameKind::Ping => self.take_ping(frame, payload, control),
            FrameKind::Priority => self.take_priority(frame, payload, control),
            FrameKind::PriorityUpdate => self.take_priority_update(frame, payload),
            FrameKind::GoAway => take_go_away(frame, payload),
            FrameKind::PushPromise => Err(ConnectionError::PushPromise),
            _ => Ok(None),
        }
    }

    fn take_ping(&mut self, frame: FrameHead, payload: &[u8], control: &mut Vec<u8>) -> Taken {
        if frame.stream != StreamId::CONNECTION {
            return Err(ConnectionError::StreamId);
        }
        let payload = exactly::<8>(payload)?;
        if frame.has(flags::ACK) {
            let payload = u64::from_be_bytes(payload);
            let answered = self.ping.take_if(|ping| *ping == payload);
            return Ok(answered.map(|payload| Event::PingAck { payload }));
        }
        push_frame(
            control,
            FrameKind::Ping,
            flags::ACK,
            StreamId::CONNECTION,
            &payload,
        );
        Ok(None)
    }

    fn take_window_update(
        &mut self,
        frame: FrameHead,
        payload: &[u8],
        control: &mut Vec<u8>,
    ) -> Taken {
        let increment = u32::from_be_bytes(exactly(payload)?) & 0x7fff_ffff;
        let stream = frame.stream;
        if stream == StreamId::CONNECTION {
            if increment == 0 {
                return Err(ConnectionError::ZeroWindowUpdate);
            }
            if !self.send_window.grow(increment) {
                return Err(ConnectionError::WindowTooLarge);
            }
            return Ok(Some(Event::WindowGrew { stream: None }));
        }
        let open = match self.streams.state(stream) {
            StreamState::Idle => return Err(ConnectionError::IdleStream),
            // No client has a reason for it, and that of a stream in progress would be an error of the stream.
            StreamState::Closed(Closed::Ended) if increment == 0 => {
                return Err(ConnectionError::ZeroWindowUpdate);
            }
            StreamState::Closed(_) => return Ok(None),
            StreamState::Open(index) => self.streams.at(index),
        };
        if increment == 0 {
            return self.stream_error(stream, ErrorCode::PROTOCOL_ERROR, control);
        }
        if !open.send_window.grow(increment) {
            return self.stream_error(stream, ErrorCode::FLOW_CONTROL_ERROR, control);
        }
        Ok(Some(Event::WindowGrew {
            stream: Some(stream),
        }))
    }

    fn take_reset(&mut self, frame: FrameHead, payload: &[u8]) -> Taken {
        let code = ErrorCode(u32::from_be_bytes(exactly(payload)?));
        let stream = frame.stream;
        if stream == StreamId::CONNECTION {
            return Err(ConnectionError::StreamId);
        }
        if self.streams.state(stream) == StreamState::Idle {
            return Err(ConnectionError::IdleStream);
        }
        let Some(removed) = self.streams.reset_by_peer(stream) else {
            return Ok(None);
        };
        if !removed.has_sent_end {
            self.budgets.count_reset()?;
        }
        self.count_abandoned(&removed);
        Ok(Some(Event::Reset { stream, code }))
    }

    fn take_settings(&mut self, frame: FrameHead, payload: &[u8], control: &mut Vec<u8>) -> Taken {
        if frame.stream != StreamId::CONNECTION {
            return Err(ConnectionError::StreamId);
        }
        if frame.has(flags::ACK) {
            let [] = exactly(payload)?;
            return Ok(None);
        }
        // As long as ten usual ones: it costs as much.
        self.budgets.count_control(payload.len() as u32 / 60)?;
        let before = i64::from(self.peer.initial_window);
        self.peer.apply(payload)?;
        let growth = i64::from(self.peer.initial_window) - before;
        if growth != 0 {
            for stream in self.streams.iter_mut() {
                if !stream.send_window.shift(growth) {
                    return Err(ConnectionError::WindowTooLarge);
                }
            }
        }
        if self.peer.header_table_size < TABLE_SIZE.into()
            && self.table_update == TableUpdate::NotNeeded
        {
            self.table_update = TableUpdate::Pending;
        }
        self.progress = Progress::Frames;
        push_frame(
            control,
            FrameKind::Settings,
            flags::ACK,
            StreamId::CONNECTION,
            b"",
        );
        Ok((growth > 0).then_some(Event::WindowGrew { stream: None }))
    }

    /// RFC 9113 §5.3.2: the priorities of RFC 7540 are ignored. A stream that depends on itself is still an error.
    fn take_priority(&mut self, frame: FrameHead, payload: &[u8], control: &mut Vec<u8>) -> Taken {
        let stream = frame.stream;
        if stream == StreamId::CONNECTION {
            return Err(ConnectionError::StreamId);
        }
        let (error, code) = match exactly::<5>(payload) {
            Ok([s0, s1, s2, s3, _]) if StreamId::read([s0, s1, s2, s3]) != stream => {
                return Ok(None);
            }
            Ok(_) => (ConnectionError::SelfDependency, ErrorCode::PROTOCOL_ERROR),
            Err(error) => (error, ErrorCode::FRAME_SIZE_ERROR),
        };
        // RST_STREAM may not be sent on an idle stream (RFC 9113 §6.4), nor on a closed one.
        match self.streams.state(stream) {
            StreamState::Open(_) => self.stream_error(stream, code, control),
            _ => Err(error),
        }
    }

    fn take_priority_update(&mut self, frame: FrameHead, payload: &[u8]) -> Taken {
        if frame.stream != StreamId::CONNECTION {
            return Err(ConnectionError::StreamId);
        }
        let Some((&stream, value)) = payload.split_first_chunk::<4>() else {
            return Err(ConnectionError::FrameSize);
        };
        let stream = StreamId::read(stream);
        if !stream.is_from_client() {
            return Err(ConnectionError::PriorityUpdate);
        }
        let priority = Priority::parse(value);
        match self.streams.state(stream) {
            StreamState::Open(index) => {
                self.streams.at(index).priority = priority;
                Ok(Some(Event::Priority { stream, priority }))
            }
            StreamState::Closed(_) => Ok(None),
            StreamState::Idle => self.keep_early_priority(stream, priority).map(|()| None),
        }
    }

    fn keep_early_priority(
        &mut self,
        stream: StreamId,
        priority: Priority,
    ) -> Result<(), ConnectionError> {
        let early = &mut self.early_priorities;
        if let Some((_, known)) = early.iter_mut().find(|(early, _)| *early == stream) {
            *known = priority;
            return Ok(());
        }
        if self.streams.len() + early.len() >= self.settings.max_concurrent_streams as usize {
            return Err(ConnectionError::PriorityUpdate);
        }
        early.push((stream, priority));
        Ok(())
    }

    /// What PRIORITY_UPDATE has said about a stream that is opened now. Those below it will never be opened.
    pub(super) fn take_early_priority(&mut self, stream: StreamId) -> Option<Priority> {
        if self.early_priorities.is_empty() {
            return None;
        }
        let mut found = None;
        self.early_priorities.retain(|&(early, priority)| {
            if early == stream {
                found = Some(priority);
            }
            early > stream
        });
        found
    }
}

fn take_go_away(frame: FrameHead, payload: &[u8]) -> Taken {
    if frame.stream != StreamId::CONNECTION {
        return Err(ConnectionError::StreamId);
    }
    let Some(&[_, _, _, _, c0, c1, c2, c3]) = payload.first_chunk::<8>() else {
        return Err(ConnectionError::FrameSize);
    };
    Ok(Some(Event::PeerGoesAway {
        code: ErrorCode(u32::from_be_bytes([c0, c1, c2, c3])),
    }))
}

/// The payload of a frame of fixed length.
fn exactly<const N: usize>(payload: &[u8]) -> Result<[u8; N], ConnectionError> {
    payload.try_into().map_err(|_| ConnectionError::FrameSize)
}
