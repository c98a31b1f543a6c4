//! A WebSocket that the server holds for an application, which gets its events in requests (WebSocket-over-HTTP): what
//! frames, answers, published messages and moments mean. A protocol performs what this module decides.
//!
//! Invariants: one request is under way at a time; the application gets the client's messages in order, and one CLOSE
//! or DISCONNECT at the end, unless it has ended the session itself.

pub mod answer;
mod application;
mod timers;

use std::time::Instant;

use lockgate_http::websocket::events::WebSocketEvent;
use lockgate_http::websocket::{
    CloseCode, Closing, FrameReader, FrameWriter, Message, MessageLimits, NextStep, ProtocolError,
};
use lockgate_push::websocket_control::{
    Control, ControlKeepAlive, FromApplication, GripExtension, MessageKind,
};

use self::answer::BadAnswer;
use self::application::Application;
use self::timers::{Due, LOOK_EVERY, Timers};
use super::body::minimum_rate::MinimumRate;
use super::publication::{Delivery, Frame, Publication};
use super::stored_response::StoredResponse;
use super::subscribed_channels::{Arrival, SubscribedChannels};
use super::subscriber::Subscriber;

/// What all sessions of a worker have in common.
#[derive(Debug, Clone, Copy)]
pub struct SessionRules {
    /// Bytes of the largest message.
    pub message_limit: usize,
    /// How fast a client has to send a message that it has begun.
    pub rate: MinimumRate,
}

/// See the module documentation.
#[derive(Debug)]
pub struct Session {
    pub channels: SubscribedChannels,
    rules: SessionRules,
    reader: FrameReader,
    closing: Closing,
    /// The client has sent a Close frame, with this code.
    client_close: Option<Option<CloseCode>>,
    application: Application,
    /// Agreed on by the application; without it each of its messages is for the client.
    grip: Option<GripExtension>,
    timers: Timers,
}

impl Session {
    /// A session that the application has accepted.
    pub fn new(
        channels: SubscribedChannels,
        grip: Option<GripExtension>,
        rules: SessionRules,
        now: Instant,
    ) -> Self {
        let limits = MessageLimits {
            size: rules.message_limit,
            ..MessageLimits::default()
        };
        Self {
            channels,
            rules,
            reader: FrameReader::new(limits),
            closing: Closing::Open,
            client_close: None,
            application: Application::default(),
            grip,
            timers: Timers::new(now),
        }
    }

    /// Whether the client is to be read.
    pub fn wants_input(&self) -> bool {
        self.closing != Closing::Closed
            && self.client_close.is_none()
            && self.application.has_room()
    }

    /// Both sides have closed, and the application knows.
    pub fn is_finished(&self) -> bool {
        self.closing == Closing::Closed && self.application.is_idle()
    }

    /// Whether the application is being asked, or the session ends.
    pub fn is_busy(&self) -> bool {
        self.closing != Closing::Open || !self.application.is_idle()
    }

    /// Takes what the client has sent; frames that answer it are appended to `out`.
    ///
    /// # Errors
    /// The client has broken the protocol: the session ends.
    pub fn on_input(
        &mut self,
        input: &[u8],
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<(), ProtocolError> {
        let mut rest = input;
        while !rest.is_empty() && self.client_close.is_none() && self.closing != Closing::Closed {
            let (used, message) = match self.reader.read(rest) {
                Ok(step) => step,
                Err(problem) => {
                    self.cut(problem.close_code(), problem.as_str(), out);
                    return Err(problem);
                }
            };
            rest = &rest[used..];
            match message {
                None => break,
                Some(Message::Text(text)) => self.application.push(&WebSocketEvent::Text(text)),
                Some(Message::Binary(bytes)) => {
                    self.application.push(&WebSocketEvent::Binary(bytes));
                }
                Some(Message::Ping(payload)) if self.closing.may_send() => {
                    // The payload of a frame that was received is not too long.
                    let _sent = FrameWriter(out).pong(&payload);
                }
                Some(Message::Ping(_) | Message::Pong(_)) => {}
                Some(Message::Close(close)) => {
                    self.on_client_close(close.map(|(code, _)| code), out)
                }
            }
        }
        let is_in_message = !self.reader.is_between_messages();
        (self.timers).on_heard(input.len(), is_in_message, &self.rules.rate, now);
        Ok(())
    }

    /// The application does not get the reason: its libraries expect a code alone.
    fn on_client_close(&mut self, code: Option<CloseCode>, out: &mut Vec<u8>) {
        self.client_close = Some(code);
        let close = code.map(|code| (code, String::new()));
        self.application.push_last(&WebSocketEvent::Close(close));
        if self.closing == Closing::Sent {
            self.closing.end();
        }
        self.settle(out);
    }

    /// Answers the client's Close frame, once the application has done that or will not.
    fn settle(&mut self, out: &mut Vec<u8>) {
        if let Some(code) = self.client_close
            && self.closing == Closing::Open
            && self.application.is_idle()
        {
            self.closing.end();
            // A code that was received may be sent.
            let _sent = FrameWriter(out).close(code.map(|code| (code, "")));
        }
    }

    /// Sends a Close frame and ends the session without waiting for the client's.
    fn cut(&mut self, code: CloseCode, reason: &str, out: &mut Vec<u8>) {
        if self.closing.end() == NextStep::SendCloseAndEnd {
            let _sent = FrameWriter(out).close(Some((code, reason)));
        }
        self.application.push_last(&WebSocketEvent::Disconnect);
    }

    /// The client's connection has ended without a Close frame.
    pub fn on_lost(&mut self) {
        self.closing.lose();
        self.application.push_last(&WebSocketEvent::Disconnect);
    }

    /// The server closes the session.
    pub fn close(&mut self, code: Option<CloseCode>, now: Instant, out: &mut Vec<u8>) {
        let mut frame = Vec::new();
        let is_valid = FrameWriter(&mut frame).close(code.map(|code| (code, "")));
        if is_valid.is_ok() {
            self.send_close(&frame, now, out);
        }
    }

    fn send_close(&mut self, frame: &[u8], now: Instant, out: &mut Vec<u8>) {
        let step = match self.client_close {
            Some(_) => self.closing.end(),
            None => self.closing.start(),
        };
        match step {
            NextStep::SendClose => self.timers.await_close(now),
            NextStep::SendCloseAndEnd => {}
            NextStep::Nothing | NextStep::End => return,
        }
        out.extend_from_slice(frame);
    }

    /// The content of a request that is to be made now.
    pub fn next_request(&mut self, now: Instant) -> Option<Vec<u8>> {
        let is_check_due = self.closing == Closing::Open && self.timers.is_check_due(now);
        let content = self.application.next_request(is_check_due)?;
        self.timers.on_asked(now);
        Some(content)
    }

    /// The names, without `Meta-`, and the values that each request has.
    pub fn meta(&self) -> impl Iterator<Item = (&str, &str)> {
        self.application.meta()
    }

    /// Takes the application's answer; frames for the client are appended to `out`.
    ///
    /// # Errors
    /// The answer cannot be followed: the session ends.
    pub fn on_answer(
        &mut self,
        response: Option<&StoredResponse>,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<(), BadAnswer> {
        self.application.on_answer();
        if self.closing == Closing::Closed {
            return Ok(());
        }
        let outcome = self.read_answer(response, now, out);
        if let Err(problem) = &outcome {
            self.close(Some(problem.close_code()), now, out);
        }
        self.settle(out);
        outcome
    }

    /// The application was not asked: the session ends.
    pub fn on_not_asked(&mut self, code: CloseCode, now: Instant, out: &mut Vec<u8>) {
        self.application.on_answer();
        self.close(Some(code), now, out);
        self.settle(out);
    }

    fn read_answer(
        &mut self,
        response: Option<&StoredResponse>,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<(), BadAnswer> {
        let (head, events) = answer::read(response, self.rules.message_limit)?;
        self.application.take_meta(head)?;
        if let Some(interval) = answer::interval_of(head)? {
            self.timers.set_check(interval);
        }
        for event in events {
            self.on_event(event, now, out)?;
        }
        Ok(())
    }

    fn on_event(
        &mut self,
        event: WebSocketEvent,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<(), BadAnswer> {
        if !self.closing.may_send() {
            return Ok(());
        }
        let mut writer = FrameWriter(out);
        match event {
            WebSocketEvent::Open => {}
            WebSocketEvent::Text(text) => {
                return self.on_message(text.as_bytes(), MessageKind::Text, now, out);
            }
            WebSocketEvent::Binary(bytes) => {
                return self.on_message(&bytes, MessageKind::Binary, now, out);
            }
            WebSocketEvent::Ping(payload) => writer.ping(&payload)?,
            WebSocketEvent::Pong(payload) => writer.pong(&payload)?,
            WebSocketEvent::Close(close) => {
                // Libraries write 0 where the application has named no code.
                let close = close.filter(|(code, _)| code.0 != 0);
                let close = close
                    .as_ref()
                    .map(|(code, reason)| (*code, reason.as_str()));
                let mut frame = Vec::new();
                FrameWriter(&mut frame).close(close)?;
                self.application.end();
                self.send_close(&frame, now, out);
            }
            WebSocketEvent::Disconnect => {
                self.application.end();
                self.closing.lose();
            }
        }
        Ok(())
    }

    /// A message of the application.
    fn on_message(
        &mut self,
        message: &[u8],
        kind: MessageKind,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<(), BadAnswer> {
        let message = match self.grip.as_ref().map(|grip| grip.classify(message)) {
            None => message,
            Some(FromApplication::Message(message)) => message,
            Some(FromApplication::Control(json)) => return self.on_control(json, now),
            Some(FromApplication::Nothing) => return Ok(()),
        };
        self.send(message, kind, out);
        self.timers.on_sent(now);
        Ok(())
    }

    /// Appends a message that is valid.
    fn send(&self, content: &[u8], kind: MessageKind, out: &mut Vec<u8>) {
        if !self.closing.may_send() {
            return;
        }
        let mut writer = FrameWriter(out);
        match (kind, str::from_utf8(content)) {
            (MessageKind::Text, Ok(text)) => writer.text(text),
            (MessageKind::Text, Err(_)) | (MessageKind::Binary, _) => writer.binary(content),
            // Checked when they were set.
            (MessageKind::Ping, _) => _ = writer.ping(content),
            (MessageKind::Pong, _) => _ = writer.pong(content),
        }
    }

    fn on_control(&mut self, json: &[u8], now: Instant) -> Result<(), BadAnswer> {
        match Control::parse(json)? {
            Control::Subscribe(channel) => {
                if !self.channels.subscribe(&channel) {
                    let limit = self.channels.rules().limits.channels;
                    return Err(BadAnswer::Channels { limit });
                }
            }
            Control::Unsubscribe { channel } => self.channels.unsubscribe(&channel),
            Control::Detach => self.application.end(),
            Control::KeepAlive(keep_alive) => self.timers.set_keep_alive(keep_alive, now),
            Control::SetMeta { name, value } if name == "user" => {
                self.channels.set_user(value.into());
            }
            Control::SetMeta { .. } | Control::Other { .. } => {}
        }
        Ok(())
    }

    /// Takes a published message.
    pub fn on_publication(
        &mut self,
        publication: &Publication,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Delivery {
        if self.channels.on_message(publication, || false) != Arrival::New
            || !self.closing.may_send()
        {
            return Delivery::Nothing;
        }
        match publication.frame() {
            Frame::Nothing => return Delivery::Nothing,
            Frame::Bytes(frame) => {
                out.extend_from_slice(frame);
                self.timers.on_sent(now);
            }
            Frame::Close(code) => self.close(*code, now, out),
        }
        Delivery::Written
    }

    /// Does what is due.
    pub fn on_time(&mut self, now: Instant, out: &mut Vec<u8>) {
        if self.channels.are_records_lost() {
            self.close(Some(CloseCode::TRY_AGAIN_LATER), now, out);
        }
        if self.client_close.is_some() || !self.application.has_room() {
            self.timers.pause(&self.rules.rate, now);
        }
        while self.closing != Closing::Closed {
            match self.timers.take_due(now) {
                Due::Nothing => return,
                Due::Ping => _ = FrameWriter(out).ping(b""),
                Due::KeepAlive(keep_alive) => {
                    let ControlKeepAlive { kind, content, .. } = keep_alive.clone();
                    self.send(&content, kind, out);
                }
                Due::End => self.close(Some(CloseCode::GOING_AWAY), now, out),
                Due::SlowMessage => self.cut(CloseCode::POLICY, "message is too slow", out),
                Due::Silence => self.on_lost(),
            }
        }
    }

    /// When [`Session::on_time`] has to be called next, at the latest.
    pub fn next_time(&self, now: Instant) -> Instant {
        if self.closing == Closing::Closed {
            // Only the application's answer is awaited.
            return now + LOOK_EVERY;
        }
        let may_ask = self.application.is_idle() && !self.application.is_over();
        self.timers.next(may_ask, now)
    }

    /// The worker ends: the session does until `by`.
    pub fn end_by(&mut self, subscriber: Subscriber, by: Instant, now: Instant) {
        if self.closing == Closing::Open {
            self.timers.end_by(subscriber, by, now);
        }
    }
}

#[cfg(test)]
mod tests;
