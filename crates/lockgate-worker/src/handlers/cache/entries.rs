//! The entries of the cache: what is stored under which key.
//!
//! Under the primary key, which is made of the URL, there is a response, or the names of the fields by which its variants
//! differ. Beside a key there may be a mark that its responses are not stored. All entries of a URL have a tag, so that one purge concerns
//! them all and every response to it that is on its way.

use std::time::Duration;

use lockgate_cache::{Entry, Meta, Variants, Vary, key, tags};
use lockgate_config::CacheConfig;
use lockgate_http::RequestHead;
use lockgate_shm::responses::{
    EntryBuffer, EntryId, FlightOutcome, NewEntry, PurgeEpoch, Refused, ResponseStore,
};

use super::copies::{Copies, StoredCopy};
use super::fill::{Collecting, Fill};
use super::stored::Stored;
use super::target::MOUNT;

/// The metadata of the mark. No [`Entry`] begins like this.
const UNCACHEABLE: &[u8] = b"\xFF";

/// At the end of the key of such a mark.
const MARK: &[u8] = b"\x03";

/// See the module documentation.
pub(super) struct Entries {
    store: ResponseStore,
    limit: usize,
    ignored_parameters: Vec<String>,
}

/// What is stored for a request.
pub(super) enum Found<'c> {
    /// Nothing under its primary key.
    Nothing,
    /// Responses to requests with other values of some fields.
    OtherVariant {
        /// The key of the response to this request.
        key: Vec<u8>,
    },
    Response(&'c mut StoredCopy),
}

impl Entries {
    pub(super) fn new(store: ResponseStore, config: &CacheConfig) -> Self {
        Self {
            store,
            limit: config.entry_limit,
            ignored_parameters: config.ignore_query.clone(),
        }
    }

    pub(super) fn store(&self) -> ResponseStore {
        self.store
    }

    /// Parameters that are not part of keys.
    pub(super) fn ignored_parameters(&self) -> &[String] {
        &self.ignored_parameters
    }

    /// Bytes of the largest body.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether a body of this length may be stored; it may not be known.
    pub(super) fn has_room_for(&self, length: Option<u64>) -> bool {
        length.is_none_or(|length| length <= self.limit as u64)
    }

    /// What is stored under a primary key for this request.
    pub(super) fn find<'c>(
        &self,
        primary: &[u8],
        request: &RequestHead,
        buffer: &mut EntryBuffer,
        copies: &'c mut Copies,
        now: u64,
    ) -> Found<'c> {
        let found = self.store.read_meta(primary, buffer);
        let Some(id) = found.filter(|_| buffer.expires > now) else {
            return Found::Nothing;
        };
        match Entry::decode(&buffer.meta) {
            Some(Entry::Response(_)) => {
                let copy = copies.get(primary, (id, &buffer.meta), &self.store);
                copy.map_or(Found::Nothing, Found::Response)
            }
            Some(Entry::Variants(variants)) => {
                let key = key::secondary(primary, &variants, request);
                let found = self.store.read_meta(&key, buffer);
                let copy = found
                    .filter(|_| buffer.expires > now)
                    .and_then(|id| copies.get(&key, (id, &buffer.meta), &self.store));
                copy.map_or(Found::OtherVariant { key }, Found::Response)
            }
            None => Found::Nothing,
        }
    }

    /// Stores a response that is complete.
    pub(super) fn insert(&self, fill: &Fill, collected: Collecting, now: u64) -> FlightOutcome {
        let Collecting {
            head,
            freshness,
            body,
            ..
        } = collected;
        let meta = Meta::new(&head, freshness);
        let url = url_tag(&fill.key);
        let mut all = tags::of(&head);
        all.push(&url);
        let vary = Vary::of(&head).unwrap_or_default();
        let expires = freshness.expires();
        let inserted = self.key_of(fill, vary, expires, now).and_then(|key| {
            let entry = NewEntry {
                key: &key,
                meta: &meta.encode(),
                body: &body,
                tags: &all,
                expires,
            };
            self.store.insert(&entry, fill.since, now)
        });
        match inserted {
            Ok(_) => FlightOutcome::Stored,
            // A purge has come meanwhile, or there is no room; the store has counted it.
            Err(_) => FlightOutcome::NotStored,
        }
    }

    /// The key of the response to this request, which varies on these fields. If it does, the names of the fields are
    /// stored under its primary key.
    fn key_of(&self, fill: &Fill, vary: Vary, expires: u64, now: u64) -> Result<Vec<u8>, Refused> {
        let mut buffer = EntryBuffer::default();
        let present = self.store.read(&fill.key, &mut buffer);
        let variants = match present.and_then(|_| Entry::decode(&buffer.meta)) {
            Some(Entry::Variants(variants)) if buffer.expires > now => Some(variants),
            _ => None,
        };
        let is_new = variants.is_none();
        let (id, before) = match variants {
            None if vary.is_empty() => return Ok(fill.key.clone()),
            None => (next_id(present, now), Vary::default()),
            Some(variants) => (variants.id, variants.vary),
        };
        // With too many fields together, the earlier variants are not found any longer.
        let merged = before.merged(&vary).unwrap_or(vary);
        let is_changed = is_new || merged != before || buffer.expires < expires;
        let variants = Variants { id, vary: merged };
        if is_changed {
            let url = url_tag(&fill.key);
            let entry = NewEntry {
                key: &fill.key,
                meta: &variants.encode(),
                body: b"",
                tags: &[&url],
                expires: expires.max(buffer.expires),
            };
            self.store.insert(&entry, fill.since, now)?;
        }
        Ok(key::secondary(&fill.key, &variants, &fill.request))
    }

    /// Stores the new head of a response that the application has validated.
    pub(super) fn replace(&self, stored: &Stored, now: u64) {
        let expires = stored.meta.freshness.expires();
        let meta = stored.meta.encode();
        // Another response or a purge may have taken its place: that is right.
        let _replaced = (self.store).replace_meta(&stored.key, stored.id, (&meta, expires), now);
    }

    /// Removes a stored response.
    pub(super) fn remove(&self, stored: &Stored) {
        // The lock is refused if this thread holds it, which it does not here.
        let _removed = self.store.remove(&stored.key);
    }

    /// Requests with the key of this flight do not wait for each other for a while.
    pub(super) fn mark_uncacheable(
        &self,
        flight_key: &[u8],
        pause: Duration,
        since: PurgeEpoch,
        now: u64,
    ) {
        let entry = NewEntry {
            key: &mark_key(flight_key),
            meta: UNCACHEABLE,
            body: b"",
            tags: &[],
            expires: now + pause.as_secs(),
        };
        // Without the mark requests wait for each other.
        let _marked = self.store.insert(&entry, since, now);
    }

    /// Whether requests with this key are passed on without waiting for each other.
    pub(super) fn is_marked_uncacheable(&self, flight_key: &[u8], now: u64) -> bool {
        let mut buffer = EntryBuffer::default();
        let found = self.store.read_meta(&mark_key(flight_key), &mut buffer);
        found.is_some() && buffer.meta == UNCACHEABLE && buffer.expires > now
    }

    /// Removes all that is stored for a URL, and what is on its way.
    pub(super) fn invalidate(&self, primary: &[u8]) {
        // The lock is refused if this thread holds it, which it does not here.
        let _counts = purge_url(&self.store, primary);
    }
}

/// A number that no earlier entry at the key has.
fn next_id(present: Option<EntryId>, now: u64) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one((present, now))
}

/// The key of the mark that responses with this key are not stored.
fn mark_key(flight_key: &[u8]) -> Vec<u8> {
    [flight_key, MARK].concat()
}

/// The tag of all entries of a URL, whatever the mount point is. No tag of a response begins with its first byte.
fn url_tag(primary: &[u8]) -> Vec<u8> {
    let url = primary.split(|byte| *byte == MOUNT).next();
    [b"\0", url.unwrap_or_default()].concat()
}

/// Removes all that is stored under a primary key, and refuses what is on its way. Returns the number of entries.
///
/// # Errors
/// When the lock of the store cannot be taken.
pub fn purge_url(store: &ResponseStore, primary: &[u8]) -> Result<u64, lockgate_shm::LockError> {
    Ok(store.purge_tag(&url_tag(primary))? + store.purge_key(primary)?)
}
