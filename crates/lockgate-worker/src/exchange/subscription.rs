//! A response that stays open without a thread and gets the messages of its channels, as GRIP describes it: what each
//! message, each moment and the end of the worker mean for it. Protocols perform what this module decides.

mod next_page;

use std::borrow::Cow;
use std::time::{Duration, Instant};

use lockgate_push::{
    ContentFilter, HoldMode, Instruction, InstructionError, KeepAlive, KeepAliveMode, builds_ids,
};
use lockgate_shm::Cursor;

use super::origin::Origin;
use super::publication::{Delivery, Part, Publication};
use super::stored_response::StoredResponse;
use super::subscribed_channels::{Arrival, Rules, SubscribedChannels};
use super::subscriber::Subscriber;

use self::next_page::NextPage;

/// A response that is to come with a message gets the application's own one after this time, unless the instruction
/// names another (GRIP's default).
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(55);

/// A subscription without any deadline is looked at this often, so that closed connections leave no timer entries for
/// longer.
const LOOK_EVERY: Duration = Duration::from_secs(600);

/// See the module documentation.
#[derive(Debug)]
pub struct Subscription {
    channels: SubscribedChannels,
    awaited: Awaited,
    is_event_stream: bool,
    keep_alive: Option<Box<KeepAlive>>,
    /// When the next text of `keep_alive` is due.
    keep_alive_at: Instant,
    /// When the application's own response is sent instead.
    expires_at: Option<Instant>,
    /// The worker ends, or nothing follows: when the response ends at the latest.
    ends_at: Option<Instant>,
    next_page: Option<Box<NextPage>>,
}

/// What a subscription is made of, besides its instruction.
#[derive(Debug, Default)]
pub struct Request<'a> {
    /// What follows it is asked for like the client's request.
    pub origin: Option<Box<Origin>>,
    /// The body is an event stream.
    pub is_event_stream: bool,
    /// What a client gets for which no message comes; only if the instruction says `response`.
    pub otherwise: Option<StoredResponse>,
    pub last_event_id: Option<&'a str>,
    /// The end of the log before the client got a part of the response: it may know of a message that came later.
    pub since: Option<Cursor>,
}

/// What a response waits for.
#[derive(Debug)]
enum Awaited {
    /// Messages, each of which is a part of its body.
    Parts,
    /// One message, which is the response; this one is sent if none comes in time.
    Response(Box<StoredResponse>),
}

/// What a protocol has to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Reaction<'a> {
    Nothing,
    /// Send this as a part of the body.
    Send(Cow<'a, [u8]>),
    /// End the body.
    End,
    /// Send this response.
    Respond(Box<StoredResponse>),
    /// Ask the application for the next page.
    AskForPage,
}

impl Reaction<'_> {
    /// What has become of the message that it follows from.
    pub fn delivery(&self) -> Delivery {
        match self {
            Self::Nothing => Delivery::Nothing,
            Self::Send(_) | Self::End | Self::Respond(_) => Delivery::Written,
            Self::AskForPage => Delivery::Postponed,
        }
    }
}

impl Subscription {
    /// The subscription of a response to this instruction.
    pub fn new(instruction: Instruction, request: Request<'_>, rules: Rules, now: Instant) -> Self {
        let user = meta_of(&instruction, "user");
        let mut channels =
            SubscribedChannels::new(&instruction.channels, user, request.since, rules);
        if let Some(format) = meta_of(&instruction, "id_format") {
            channels.set_id_format(format);
        }
        let has_ids = instruction.channels.iter().any(|one| one.prev_id.is_some());
        if let (Some(id), true, false) = (request.last_event_id, request.is_event_stream, has_ids) {
            channels.continue_after(id);
        }
        let (awaited, timeout) = match instruction.mode {
            HoldMode::Stream => (Awaited::Parts, None),
            HoldMode::Response => {
                let timeout = instruction.timeout.unwrap_or(RESPONSE_TIMEOUT);
                let otherwise = Box::new(request.otherwise.unwrap_or_default());
                (Awaited::Response(otherwise), Some(timeout))
            }
        };
        let next_page = instruction
            .next
            .zip(request.origin)
            .map(|(link, origin)| Box::new(NextPage::new(link, origin, !channels.is_empty(), now)));
        let mut subscription = Self {
            channels,
            awaited,
            is_event_stream: request.is_event_stream,
            keep_alive: instruction.keep_alive.map(Box::new),
            keep_alive_at: now,
            expires_at: timeout.map(|timeout| now + timeout),
            ends_at: None,
            next_page,
        };
        subscription.restart_keep_alive(now);
        subscription
    }

    /// Its channels, and its place in the log.
    pub fn channels(&mut self) -> &mut SubscribedChannels {
        &mut self.channels
    }

    /// There is room for records: whether the event loop has to read some for it, and does not know that.
    pub fn asks_for_records(&mut self) -> bool {
        let page = self.next_page.as_ref();
        // The page may say where to continue.
        !page.is_some_and(|page| page.is_asked_for()) && self.channels.asks_for_records()
    }

    /// What a message means.
    pub fn on_message<'p>(&mut self, publication: &'p Publication, now: Instant) -> Reaction<'p> {
        let page = self.next_page.as_deref_mut();
        let arrival = (self.channels).on_message(publication, || recovers(page, now));
        match arrival {
            Arrival::Known => return Reaction::Nothing,
            Arrival::Missing => return Reaction::AskForPage,
            Arrival::LeftOut | Arrival::New => {}
        }
        if let Some(page) = &mut self.next_page {
            page.on_message(now);
        }
        let reaction = match &self.awaited {
            _ if arrival == Arrival::LeftOut => Reaction::Nothing,
            Awaited::Parts => match publication.part(self.is_event_stream) {
                Part::Nothing => Reaction::Nothing,
                Part::Bytes(bytes) if publication.message().builds_id => {
                    let message = publication.message();
                    Reaction::Send(self.channels.filter_content(message, bytes).into())
                }
                Part::Bytes(bytes) => Reaction::Send(bytes.into()),
                Part::Close => Reaction::End,
            },
            Awaited::Response(_) => match publication.response() {
                Some(response) => Reaction::Respond(response),
                None => Reaction::Nothing,
            },
        };
        if matches!(reaction, Reaction::Send(_)) {
            self.on_sent(now);
        }
        reaction
    }

    /// Something of the body was sent.
    fn on_sent(&mut self, now: Instant) {
        let is_idle = |keep_alive: &KeepAlive| keep_alive.mode == KeepAliveMode::Idle;
        if self.keep_alive.as_deref().is_some_and(is_idle) {
            self.restart_keep_alive(now);
        }
    }

    fn restart_keep_alive(&mut self, now: Instant) {
        if let Some(keep_alive) = &self.keep_alive {
            self.keep_alive_at = now + keep_alive.timeout;
        }
    }

    /// What this moment means.
    pub fn on_time(&mut self, now: Instant) -> Reaction<'_> {
        let is_over = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let are_records_lost = self.channels.are_records_lost();
        if are_records_lost || is_over(self.ends_at) || is_over(self.expires_at) {
            return match &mut self.awaited {
                Awaited::Parts => Reaction::End,
                Awaited::Response(otherwise) => Reaction::Respond(std::mem::take(otherwise)),
            };
        }
        if (self.next_page.as_mut()).is_some_and(|page| page.take_due(now)) {
            return Reaction::AskForPage;
        }
        let is_stream = matches!(self.awaited, Awaited::Parts);
        if self.keep_alive.is_some() && is_stream && self.keep_alive_at <= now {
            self.restart_keep_alive(now);
            if let Some(keep_alive) = &self.keep_alive {
                return Reaction::Send((&keep_alive.content).into());
            }
        }
        Reaction::Nothing
    }

    /// When [`Subscription::on_time`] has to be called next.
    pub fn next_time(&self, now: Instant) -> Instant {
        let is_stream = matches!(self.awaited, Awaited::Parts);
        let keep_alive = (self.keep_alive.is_some() && is_stream).then_some(self.keep_alive_at);
        let page = self.next_page.as_ref().and_then(|page| page.due_at());
        let times = [self.expires_at, self.ends_at, keep_alive, page];
        times
            .into_iter()
            .flatten()
            .fold(now + LOOK_EVERY, Instant::min)
    }

    /// The page that is to be asked for: its address, and the client's request.
    pub fn next_page(&self) -> Option<(&str, &Origin)> {
        let page = self.next_page.as_ref()?;
        Some((page.uri(), &page.origin))
    }

    /// The application is asked for the next page, by the request of this number.
    pub fn ask_for_page(&mut self, number: u64) {
        if let Some(page) = &mut self.next_page {
            page.set_number(number);
        }
    }

    /// The next page cannot be asked for: the response ends.
    pub fn give_up_pages(&mut self, now: Instant) {
        self.next_page = None;
        self.ends_at = Some(now);
    }

    /// What the client has, for the application: the value of `Grip-Last`.
    pub fn last_ids(&self) -> String {
        let ids = self.channels.last_ids();
        let ids = ids.map(|(name, id)| match id.contains([' ', ',', ';', '"', '\\']) {
            true => format!(
                "{name}; last-id=\"{}\"",
                id.replace('\\', "\\\\").replace('"', "\\\"")
            ),
            false => format!("{name}; last-id={id}"),
        });
        ids.collect::<Vec<_>>().join(", ")
    }

    /// The next page has come, or cannot be had. The channels may be others from now on.
    ///
    /// # Errors
    /// The application has answered with an instruction that cannot be followed.
    pub fn on_page<'p>(
        &mut self,
        number: u64,
        page: Option<&'p StoredResponse>,
        now: Instant,
    ) -> Result<Reaction<'p>, InstructionError> {
        // The answer may be for an earlier response of the connection.
        let Some(next_page) = (self.next_page.as_mut()).filter(|page| page.is_number(number))
        else {
            return Ok(Reaction::Nothing);
        };
        let Some(page) = page.filter(|page| page.head.status() == 200) else {
            return Ok(match next_page.on_failure(now) {
                true => Reaction::Nothing,
                false => Reaction::End,
            });
        };
        let is_filtered = builds_ids(page.head.headers());
        match Instruction::from_fields(page.head.headers(), &self.channels.rules().limits)? {
            None => self.next_page = None,
            Some(instruction) => {
                self.channels.replace(&instruction.channels);
                if let Some(user) = meta_of(&instruction, "user") {
                    self.channels.set_user(user);
                }
                if let Some(format) = meta_of(&instruction, "id_format") {
                    self.channels.set_id_format(format);
                }
                if let Some(keep_alive) = instruction.keep_alive {
                    self.keep_alive = Some(Box::new(keep_alive));
                }
                match (&mut self.next_page, instruction.next) {
                    (Some(page), Some(link)) => {
                        page.continue_with(link, !self.channels.is_empty(), now);
                    }
                    (page, _) => *page = None,
                }
            }
        }
        if self.channels.is_empty() && self.next_page.is_none() {
            // Nothing follows: what the page has is sent first.
            self.ends_at = Some(now);
        }
        self.on_sent(now);
        Ok(match page.body.is_empty() {
            true => Reaction::Nothing,
            false if is_filtered => {
                let mut filter = ContentFilter::default();
                let mut body = filter.filter(&page.body);
                body.extend_from_slice(filter.finish());
                Reaction::Send(body.into())
            }
            false => Reaction::Send((&page.body).into()),
        })
    }

    /// The worker ends: the response does until `by`.
    pub fn end_by(&mut self, subscriber: Subscriber, by: Instant, now: Instant) {
        subscriber.end_by(&mut self.ends_at, by, now);
    }
}

/// A value that the application has given the connection.
fn meta_of(instruction: &Instruction, wanted: &str) -> Option<Box<str>> {
    let mut meta = instruction.meta.iter();
    let (_, value) = meta.find(|(name, _)| name == wanted)?;
    Some(value.as_str().into())
}

fn recovers(page: Option<&mut NextPage>, now: Instant) -> bool {
    page.is_some_and(|page| page.recover(now) && page.take_due(now))
}

#[cfg(test)]
mod tests;
