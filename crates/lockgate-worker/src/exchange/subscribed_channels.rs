//! The channels of a subscriber, and its place in the broadcast log.
//!
//! Invariant: of each channel every record after `seen` is delivered once and in order, or `are_records_lost` is set.

use std::sync::Arc;

use lockgate_push::{
    ContentFilter, Filters, HeldChannel, InstructionLimits, Message, Sequence, Step, build_id,
};
use lockgate_shm::{Cursor, Log};

use super::publication::Publication;

/// What every subscriber of a worker has in common.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub log: Log,
    pub limits: InstructionLimits,
}

/// See the module documentation.
#[derive(Debug)]
pub struct SubscribedChannels {
    channels: Vec<SubscribedChannel>,
    progress: Progress,
    /// The user that the application has named: channels may leave out what this user has sent.
    user: Option<Box<str>>,
    /// The format of the ids of events, which has the last ids of all channels.
    id_format: Option<Box<str>>,
    /// The event loop does not know the present channels.
    has_changed: bool,
    are_records_lost: bool,
    rules: Rules,
}

/// A channel of one subscriber.
#[derive(Debug)]
struct SubscribedChannel {
    name: Arc<str>,
    /// The place in the log up to which records were considered.
    seen: Cursor,
    sequence: Sequence,
    filters: Filters,
    /// The event loop does not deliver to it yet.
    is_new: bool,
}

/// How a subscriber gets its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// As the event loop reads them.
    Live,
    /// From this place in the log: the client has asked for earlier ones, or has not taken what it was sent.
    Behind(Cursor),
    /// As before, and the event loop knows that there is room for some.
    Asking(Cursor),
}

/// What a message is to a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It is of another channel, or was considered before.
    Known,
    /// One before it is missing, and is recovered first: the subscriber gets this one again.
    Missing,
    /// A filter of the channel leaves it out.
    LeftOut,
    /// It is the next one.
    New,
}

impl SubscribedChannels {
    /// Channels that name no message begin at `since`, or at the end of the log.
    pub fn new(
        channels: &[HeldChannel],
        user: Option<Box<str>>,
        since: Option<Cursor>,
        rules: Rules,
    ) -> Self {
        let mut subscribed = Self {
            channels: Vec::new(),
            progress: since.map_or(Progress::Live, Progress::Behind),
            user,
            id_format: None,
            has_changed: false,
            are_records_lost: false,
            rules,
        };
        subscribed.replace(channels);
        subscribed
    }

    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// The names of the channels.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.channels.iter().map(|channel| &channel.name)
    }

    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// Whether a message of this channel concerns the subscriber.
    pub fn has(&self, name: &str) -> bool {
        self.channels.iter().any(|channel| &*channel.name == name)
    }

    pub fn set_user(&mut self, user: Box<str>) {
        self.user = Some(user);
    }

    pub fn set_id_format(&mut self, format: Box<str>) {
        self.id_format = Some(format);
    }

    /// The ids of the last messages, of the channels where they are known.
    pub fn last_ids(&self) -> impl Iterator<Item = (&str, &str)> {
        let channels = self.channels.iter();
        channels.filter_map(|channel| Some((&*channel.name, channel.sequence.last_id.as_deref()?)))
    }

    /// What the content of a message with the filter `build-id` is for this subscriber, which has just got it.
    pub fn filter_content(&self, message: &Message, content: &[u8]) -> Vec<u8> {
        let last_id = |name: &str| {
            let mut ids = self.last_ids();
            ids.find(|(of, _)| *of == name).map(|(_, id)| id)
        };
        let id = match &self.id_format {
            Some(format) => build_id(format, last_id),
            None => message.id.clone().unwrap_or_default(),
        };
        let mut filter = ContentFilter::with_id(id);
        let mut filtered = filter.filter(content);
        filtered.extend_from_slice(filter.finish());
        filtered
    }

    /// The channels are these from now on.
    pub fn replace(&mut self, channels: &[HeldChannel]) {
        self.channels.clear();
        for channel in channels {
            self.add(channel);
        }
        self.has_changed = true;
        self.find_progress();
    }

    /// Adds a channel, if it is not there yet. False: there are as many as there may be.
    #[must_use]
    pub fn subscribe(&mut self, channel: &HeldChannel) -> bool {
        if self.has(&channel.name) {
            return true;
        }
        if self.channels.len() >= self.rules.limits.channels {
            return false;
        }
        self.add(channel);
        self.has_changed = true;
        self.find_progress();
        true
    }

    pub fn unsubscribe(&mut self, name: &str) {
        let before = self.channels.len();
        self.channels.retain(|channel| &*channel.name != name);
        self.has_changed |= self.channels.len() < before;
    }

    /// Adds a channel. One that names no message begins where the subscriber reads the log.
    fn add(&mut self, channel: &HeldChannel) {
        let log = self.rules.log;
        let position_of = |id: &str| log.position_after(channel.name.as_bytes(), id.as_bytes());
        let seen = (channel.prev_id.as_deref())
            .and_then(position_of)
            .unwrap_or_else(|| self.reads_from().unwrap_or_else(|| log.head()));
        self.channels.push(SubscribedChannel {
            name: channel.name.as_str().into(),
            seen,
            sequence: Sequence::after(channel.prev_id.as_deref()),
            filters: channel.filters,
            is_new: true,
        });
    }

    /// The client has the message with this id. An id belongs to one channel; what has been published in the others
    /// since then was missed, too.
    pub fn continue_after(&mut self, id: &str) {
        let log = self.rules.log;
        let find = |one: &SubscribedChannel| log.position_after(one.name.as_bytes(), id.as_bytes());
        if let Some(position) = self.channels.iter().filter_map(find).max() {
            for channel in &mut self.channels {
                channel.seen = position;
            }
            self.find_progress();
        }
    }

    /// The place from which the new channels need records.
    fn first_of_new(&self) -> Option<Cursor> {
        let new = self.channels.iter().filter(|channel| channel.is_new);
        new.map(|channel| channel.seen).min()
    }

    fn find_progress(&mut self) {
        let places = self.first_of_new().into_iter().chain(self.reads_from());
        self.progress = match places.min() {
            Some(earliest) if earliest < self.rules.log.head() => Progress::Behind(earliest),
            _ => Progress::Live,
        };
    }

    /// Whether the channels are others than at the last call.
    pub fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// The event loop, which has read the log up to `cursor`, delivers to all channels from now on. Returns whether it
    /// has to read earlier records first, and does not know that.
    pub fn joins_at(&mut self, cursor: Cursor) -> bool {
        let earliest = self.first_of_new();
        for channel in &mut self.channels {
            channel.is_new = false;
        }
        match (self.progress, earliest) {
            (Progress::Live, Some(earliest)) if earliest < cursor => {
                self.progress = Progress::Asking(earliest);
                true
            }
            _ => false,
        }
    }

    /// Where the subscriber continues to read the log, unless it gets records as the event loop reads them.
    pub fn reads_from(&self) -> Option<Cursor> {
        match self.progress {
            Progress::Live => None,
            Progress::Behind(from) | Progress::Asking(from) => Some(from),
        }
    }

    /// There is room for records: whether the event loop has to read some for it, and does not know that.
    pub fn asks_for_records(&mut self) -> bool {
        match self.progress {
            Progress::Behind(from) => {
                self.progress = Progress::Asking(from);
                true
            }
            Progress::Live | Progress::Asking(_) => false,
        }
    }

    /// The subscriber continues to read the log from here on; the client may have to take what it was sent before.
    pub fn continue_from(&mut self, from: Cursor) {
        self.progress = Progress::Behind(from);
    }

    /// The subscriber gets records as the event loop reads them.
    pub fn go_live(&mut self) {
        self.progress = Progress::Live;
    }

    /// Records that it needs have been overwritten.
    pub fn lose_records(&mut self) {
        self.progress = Progress::Live;
        self.are_records_lost = true;
    }

    /// Whether that has happened: the subscriber ends, so that its client comes back.
    pub fn are_records_lost(&self) -> bool {
        self.are_records_lost
    }

    /// What a message is. `recovers` is asked if one before it is missing: whether that one can be had.
    pub fn on_message(
        &mut self,
        publication: &Publication,
        recovers: impl FnOnce() -> bool,
    ) -> Arrival {
        let (name, ends) = (publication.channel(), publication.ends_at());
        let mut channels = self.channels.iter_mut();
        let Some(channel) = channels.find(|one| &*one.name == name && one.seen < ends) else {
            return Arrival::Known;
        };
        match channel.sequence.on(publication.message()) {
            Step::Skip => {
                channel.seen = ends;
                return Arrival::Known;
            }
            Step::Recover if recovers() => {
                self.progress = Progress::Behind(publication.starts_at());
                return Arrival::Missing;
            }
            Step::Deliver => channel.seen = ends,
            // The client gets what there is.
            Step::Recover => {
                channel.seen = ends;
                channel.sequence = Sequence::after(publication.message().id.as_deref());
            }
        }
        let (filters, user) = (channel.filters, self.user.as_deref());
        match filters.leave_out(publication.message(), user, |name| self.has(name)) {
            true => Arrival::LeftOut,
            false => Arrival::New,
        }
    }
}
