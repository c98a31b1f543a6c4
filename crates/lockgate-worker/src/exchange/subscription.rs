//! A response that stays open without a thread and gets the messages of its channels, as GRIP describes it: what each
//! message, each moment and the end of the worker mean for it. Protocols perform what this module decides.
//!
//! Invariant: of each channel every record after `seen` is delivered once and in order, or the response ends.

mod next_page;
mod publication;

use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_push::{
    HoldMode, Instruction, InstructionError, InstructionLimits, KeepAlive, KeepAliveMode, Sequence,
    Step,
};
use lockgate_shm::{Cursor, Log};

use super::origin::Origin;
use super::stored_response::StoredResponse;

use self::next_page::NextPage;
pub use self::publication::Publication;

/// A response that is to come with a message gets the application's own one after this time, unless the instruction
/// names another (GRIP's default).
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(55);

/// A subscription without any deadline is looked at this often, so that closed connections leave no timer entries for
/// longer.
const LOOK_EVERY: Duration = Duration::from_secs(600);

/// Names one response that receives messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subscriber {
    /// The token of the connection's slot.
    pub token: u64,
    /// The stream, in a protocol that has several.
    pub stream: u32,
}

/// See the module documentation.
#[derive(Debug)]
pub struct Subscription {
    channels: Box<[SubscribedChannel]>,
    awaited: Awaited,
    is_event_stream: bool,
    keep_alive: Option<Box<KeepAlive>>,
    /// When the next text of `keep_alive` is due.
    keep_alive_at: Instant,
    /// When the application's own response is sent instead.
    expires_at: Option<Instant>,
    /// The worker ends, or records are lost: when the response ends at the latest.
    ends_at: Option<Instant>,
    progress: Progress,
    next_page: Option<Box<NextPage>>,
    /// The user that the application has named: channels may leave out what this user has sent.
    user: Option<Box<str>>,
    rules: Rules,
}

/// What every subscription of a worker has in common.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub log: Log,
    pub limits: InstructionLimits,
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
}

/// What a response waits for.
#[derive(Debug)]
enum Awaited {
    /// Messages, each of which is a part of its body.
    Parts,
    /// One message, which is the response; this one is sent if none comes in time.
    Response(Box<StoredResponse>),
}

/// A channel of one subscription.
#[derive(Debug)]
struct SubscribedChannel {
    name: Arc<str>,
    /// The place in the log up to which records were considered.
    seen: Cursor,
    sequence: Sequence,
    /// It leaves out what its own user has sent.
    skips_self: bool,
}

/// How a subscription gets its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// As the event loop reads them.
    Live,
    /// From this place in the log: the client has asked for earlier ones, or has not taken what it was sent.
    Behind(Cursor),
    /// As before, and the event loop knows that there is room for some.
    Asking(Cursor),
}

/// What a protocol has to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Reaction<'a> {
    Nothing,
    /// Send this as a part of the body.
    Send(&'a [u8]),
    /// End the body.
    End,
    /// Send this response.
    Respond(Box<StoredResponse>),
    /// Ask the application for the next page.
    AskForPage,
}

impl Subscription {
    /// The subscription of a response to this instruction.
    pub fn new(instruction: Instruction, request: Request<'_>, rules: Rules, now: Instant) -> Self {
        let head = rules.log.head();
        let mut channels = subscribe(&instruction, head, &rules);
        let has_ids = instruction.channels.iter().any(|one| one.prev_id.is_some());
        if let (Some(id), true, false) = (request.last_event_id, request.is_event_stream, has_ids) {
            // An id belongs to one channel; what has been published in the others since then was missed, too.
            let find = |one: &SubscribedChannel| {
                (rules.log).position_after(one.name.as_bytes(), id.as_bytes())
            };
            if let Some(position) = channels.iter().filter_map(find).max() {
                for channel in &mut channels {
                    channel.seen = position;
                }
            }
        }
        let (awaited, timeout) = match instruction.mode {
            HoldMode::Stream => (Awaited::Parts, instruction.timeout),
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
            progress: progress_of(&channels, head),
            channels,
            awaited,
            is_event_stream: request.is_event_stream,
            keep_alive: instruction.keep_alive.map(Box::new),
            keep_alive_at: now,
            expires_at: timeout.map(|timeout| now + timeout),
            ends_at: None,
            next_page,
            user: user_of(&instruction.meta),
            rules,
        };
        subscription.restart_keep_alive(now);
        subscription
    }

    /// The names of its channels.
    pub fn channels(&self) -> impl Iterator<Item = &Arc<str>> {
        self.channels.iter().map(|channel| &channel.name)
    }

    /// Whether a message of this channel concerns it.
    pub fn has_channel(&self, name: &str) -> bool {
        self.channels.iter().any(|channel| &*channel.name == name)
    }

    /// The event loop, which has read the log up to `cursor`, delivers to it from now on. Returns whether it has to read
    /// earlier records first, and the event loop does not know that.
    pub fn joins_at(&mut self, cursor: Cursor) -> bool {
        let earliest = self.channels.iter().map(|channel| channel.seen).min();
        match (self.progress, earliest) {
            (Progress::Live, Some(earliest)) if earliest < cursor => {
                self.progress = Progress::Asking(earliest);
                true
            }
            _ => false,
        }
    }

    /// Where it continues to read the log, unless it gets records as the event loop reads them.
    pub fn reads_from(&self) -> Option<Cursor> {
        match self.progress {
            Progress::Live => None,
            Progress::Behind(from) | Progress::Asking(from) => Some(from),
        }
    }

    /// There is room for records: whether the event loop has to read some for it, and does not know that.
    pub fn asks_for_records(&mut self) -> bool {
        match self.progress {
            // The page may say where to continue.
            _ if self
                .next_page
                .as_ref()
                .is_some_and(|page| page.is_asked_for()) =>
            {
                false
            }
            Progress::Behind(from) => {
                self.progress = Progress::Asking(from);
                true
            }
            Progress::Live | Progress::Asking(_) => false,
        }
    }

    /// It continues to read the log from here on; the client may have to take what it was sent before.
    pub fn continue_from(&mut self, from: Cursor) {
        self.progress = Progress::Behind(from);
    }

    /// It gets records as the event loop reads them.
    pub fn go_live(&mut self) {
        self.progress = Progress::Live;
    }

    /// Records that it needs have been overwritten: the response ends, so that the client comes back.
    pub fn lose_records(&mut self, now: Instant) {
        self.progress = Progress::Live;
        self.ends_at = Some(now);
    }

    /// What a message means.
    pub fn on_message<'p>(&mut self, publication: &'p Publication, now: Instant) -> Reaction<'p> {
        let (name, ends) = (publication.channel(), publication.ends_at());
        let mut channels = self.channels.iter_mut();
        let Some(channel) = channels.find(|one| &*one.name == name && one.seen < ends) else {
            return Reaction::Nothing;
        };
        match channel.sequence.on(publication.message()) {
            Step::Skip => {
                channel.seen = ends;
                return Reaction::Nothing;
            }
            Step::Recover if recovers(self.next_page.as_deref_mut(), now) => {
                self.progress = Progress::Behind(publication.starts_at());
                return Reaction::AskForPage;
            }
            Step::Deliver => channel.seen = ends,
            // Without a page that could have the missing message the client gets what there is.
            Step::Recover => {
                channel.seen = ends;
                channel.sequence = Sequence::after(publication.message().id.as_deref());
            }
        }
        if let Some(page) = &mut self.next_page {
            page.on_message(now);
        }
        let sender = publication.message().sender.as_deref();
        if channel.skips_self && sender.is_some() && sender == self.user.as_deref() {
            return Reaction::Nothing;
        }
        let reaction = match &self.awaited {
            Awaited::Parts => publication.part(self.is_event_stream),
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
        if is_over(self.ends_at) || is_over(self.expires_at) {
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
                return Reaction::Send(&keep_alive.content);
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

    /// The next page has come, or cannot be had. The channels may be others from now on.
    ///
    /// # Errors
    /// The application has answered with an instruction that cannot be followed.
    pub fn on_page<'p>(
        &mut self,
        page: Option<&'p StoredResponse>,
        now: Instant,
    ) -> Result<Reaction<'p>, InstructionError> {
        let Some(next_page) = &mut self.next_page else {
            return Ok(Reaction::Nothing);
        };
        let Some(page) = page.filter(|page| page.head.status() == 200) else {
            return Ok(match next_page.on_failure(now) {
                true => Reaction::Nothing,
                false => Reaction::End,
            });
        };
        let fields = page.head.headers();
        match Instruction::from_fields(fields, &self.rules.limits)? {
            None => self.next_page = None,
            Some(instruction) => {
                let from = self.reads_from().unwrap_or_else(|| self.rules.log.head());
                self.channels = subscribe(&instruction, from, &self.rules);
                self.progress = progress_of(&self.channels, self.rules.log.head());
                self.user = user_of(&instruction.meta).or(self.user.take());
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
            false => Reaction::Send(&page.body),
        })
    }

    /// The worker ends: the response ends at a moment until `by`, which differs from one subscriber to the next, so
    /// that not all clients come back at once. Only the first call counts, or one with an earlier limit.
    pub fn end_by(&mut self, subscriber: Subscriber, by: Instant, now: Instant) {
        if self.ends_at.is_none_or(|at| at > by) {
            let mixed = (subscriber.token ^ u64::from(subscriber.stream) << 17)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let part = f64::from((mixed >> 32) as u32) / f64::from(u32::MAX);
            let within = by.saturating_duration_since(now);
            self.ends_at = Some(now + within.mul_f64(part));
        }
    }
}

/// The channels of an instruction. Those that name no message begin at `from`.
fn subscribe(instruction: &Instruction, from: Cursor, rules: &Rules) -> Box<[SubscribedChannel]> {
    let position_of =
        |name: &str, id: &str| (rules.log).position_after(name.as_bytes(), id.as_bytes());
    let channels = instruction.channels.iter();
    channels
        .map(|channel| SubscribedChannel {
            name: channel.name.as_str().into(),
            seen: (channel.prev_id.as_deref())
                .and_then(|id| position_of(&channel.name, id))
                .unwrap_or(from),
            sequence: Sequence::after(channel.prev_id.as_deref()),
            skips_self: channel.skips_self,
        })
        .collect()
}

fn progress_of(channels: &[SubscribedChannel], head: Cursor) -> Progress {
    match channels.iter().map(|channel| channel.seen).min() {
        Some(earliest) if earliest < head => Progress::Behind(earliest),
        _ => Progress::Live,
    }
}

fn user_of(meta: &[(String, String)]) -> Option<Box<str>> {
    let (_, user) = meta.iter().find(|(name, _)| name == "user")?;
    Some(user.as_str().into())
}

fn recovers(page: Option<&mut NextPage>, now: Instant) -> bool {
    page.is_some_and(|page| page.recover(now) && page.take_due(now))
}

#[cfg(test)]
mod tests;
