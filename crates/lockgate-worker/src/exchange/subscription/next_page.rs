//! The page with which a response continues (`Grip-Link`): when the server asks the application for it.
//!
//! A response without channels continues at once, page by page. One with channels asks after a time without messages,
//! and when the sequence of messages shows that some are missing.

use std::time::{Duration, Instant};

use lockgate_push::NextLink;

use crate::exchange::origin::Origin;

/// The time without messages, unless the link names another one (GRIP's default).
const CHECK_AFTER: Duration = Duration::from_secs(120);

/// A page that shows that messages are missing again does not count so soon after another one.
const RECOVERY_INTERVAL: Duration = Duration::from_secs(1);

/// How often a page that cannot be had is asked for once more, and after which time.
const ATTEMPTS: u32 = 4;
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// See the module documentation.
pub struct NextPage {
    link: NextLink,
    pub origin: Box<Origin>,
    due_at: Instant,
    is_asked_for: bool,
    /// The number of the request that asks for it.
    number: u64,
    failures: u32,
    last_at: Option<Instant>,
}

impl NextPage {
    /// `has_channels`: messages may come before the page.
    pub fn new(link: NextLink, origin: Box<Origin>, has_channels: bool, now: Instant) -> Self {
        let mut page = Self {
            link,
            origin,
            due_at: now,
            is_asked_for: false,
            number: 0,
            failures: 0,
            last_at: None,
        };
        if has_channels {
            page.on_message(now);
        }
        page
    }

    pub fn uri(&self) -> &str {
        &self.link.uri
    }

    /// When it is to be asked for.
    pub fn due_at(&self) -> Option<Instant> {
        (!self.is_asked_for).then_some(self.due_at)
    }

    pub fn set_number(&mut self, number: u64) {
        self.number = number;
    }

    /// Whether the request of this number asks for it.
    pub fn is_number(&self, number: u64) -> bool {
        self.is_asked_for && self.number == number
    }

    pub fn is_asked_for(&self) -> bool {
        self.is_asked_for
    }

    /// Whether it is due, and asked for from now on.
    pub fn take_due(&mut self, now: Instant) -> bool {
        let is_due = !self.is_asked_for && self.due_at <= now;
        self.is_asked_for |= is_due;
        is_due
    }

    /// A message has come.
    pub fn on_message(&mut self, now: Instant) {
        self.due_at = now + self.link.timeout.unwrap_or(CHECK_AFTER);
    }

    /// Messages are missing. Returns whether the page may have them.
    pub fn recover(&mut self, now: Instant) -> bool {
        let is_soon = |at| now.saturating_duration_since(at) < RECOVERY_INTERVAL;
        if self.last_at.is_some_and(is_soon) {
            return false;
        }
        self.due_at = now;
        true
    }

    /// The page has come; `link` is the one that follows it.
    pub fn continue_with(&mut self, link: NextLink, has_channels: bool, now: Instant) {
        self.link = link;
        self.is_asked_for = false;
        self.failures = 0;
        self.last_at = Some(now);
        match has_channels {
            true => self.on_message(now),
            false => self.due_at = now,
        }
    }

    /// The page cannot be had. Returns whether it is asked for once more.
    pub fn on_failure(&mut self, now: Instant) -> bool {
        self.is_asked_for = false;
        self.failures += 1;
        self.due_at = now + RETRY_AFTER * (1 << self.failures.min(ATTEMPTS));
        self.failures < ATTEMPTS
    }
}

impl std::fmt::Debug for NextPage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NextPage")
            .field("link", &self.link)
            .field("due_at", &self.due_at)
            .field("is_asked_for", &self.is_asked_for)
            .finish_non_exhaustive()
    }
}
