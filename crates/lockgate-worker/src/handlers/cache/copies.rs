//! Copies of stored responses in the worker's own memory, with the heads that they were sent with last.
//!
//! The shared store is asked at each use whether the copy is still what is stored, which takes as long for a large
//! response as for a small one. A hit then costs neither a copy of the body nor the head.

use std::collections::HashMap;
use std::sync::Arc;

use lockgate_cache::{CacheStatus, Forwarded, Meta};
use lockgate_compress::{Coding, CompressRules, add_vary, apply_head};
use lockgate_http::{RequestHead, ResponseHead};
use lockgate_shm::responses::{EntryBuffer, EntryId, ResponseStore};

use super::stored::{Stored, set_cache_status};
use crate::exchange::prepared::{Prepared, PreparedBody};

/// Together, in bytes of bodies. Each worker has as many.
const MOST_BYTES: usize = 8 << 20;
const MOST_COPIES: usize = 1024;

/// Identity and the codings.
const FORMS: usize = 4;

/// See the module documentation.
pub(super) struct Copies {
    by_id: HashMap<EntryId, StoredCopy>,
    bytes: usize,
    rules: Option<CompressRules>,
    buffer: EntryBuffer,
}

/// A stored response.
pub(super) struct StoredCopy {
    pub(super) stored: Stored,
    /// The bytes of its metadata.
    meta: Vec<u8>,
    /// Clients that accept a coding get it encoded.
    is_encoded: bool,
    forms: [Form; FORMS],
}

/// The response in one coding.
#[derive(Default)]
struct Form {
    /// The head in this second.
    head: Option<(u64, Arc<ResponseHead>)>,
    /// The encoded body.
    body: Option<Arc<[u8]>>,
}

impl Copies {
    /// With rules, responses are encoded by them.
    pub(super) fn new(rules: Option<CompressRules>) -> Self {
        Self {
            by_id: HashMap::new(),
            bytes: 0,
            rules,
            buffer: EntryBuffer::default(),
        }
    }

    /// The response at this key, whose metadata has been read; `None`: it has just gone.
    pub(super) fn get(
        &mut self,
        key: &[u8],
        (id, meta): (EntryId, &[u8]),
        store: &ResponseStore,
    ) -> Option<&mut StoredCopy> {
        // A response that was validated has the same id.
        let is_current = (self.by_id.get(&id)).is_some_and(|copy| copy.meta == meta);
        if is_current {
            return self.by_id.get_mut(&id);
        }
        let copy = self.read(key, store)?;
        let id = copy.stored.id;
        self.insert(copy);
        self.by_id.get_mut(&id)
    }

    fn read(&mut self, key: &[u8], store: &ResponseStore) -> Option<StoredCopy> {
        let id = store.read(key, &mut self.buffer)?;
        let meta = Meta::decode(&self.buffer.meta)?.into_owned();
        let body: Arc<[u8]> = Arc::from(&*self.buffer.body);
        let mut head = ResponseHead::default();
        meta.write_head(&mut head, meta.freshness.stored);
        let length = Some(body.len() as u64);
        let is_encoded = (self.rules.as_ref()).is_some_and(|rules| rules.encodes(&head, length));
        Some(StoredCopy {
            stored: Stored {
                key: key.to_vec(),
                id,
                meta,
                body,
            },
            meta: self.buffer.meta.clone(),
            is_encoded,
            forms: Default::default(),
        })
    }

    fn insert(&mut self, copy: StoredCopy) {
        let added = copy.bytes();
        if self.bytes + added > MOST_BYTES || self.by_id.len() >= MOST_COPIES {
            // Those that are used come back at once: bookkeeping at each use would cost more.
            self.by_id.clear();
            self.bytes = 0;
        }
        self.bytes += added;
        if let Some(old) = self.by_id.insert(copy.stored.id, copy) {
            self.bytes = self.bytes.saturating_sub(old.bytes());
        }
    }
}

impl StoredCopy {
    /// Bytes of the body and, as an estimate, of its encoded forms, which come later.
    fn bytes(&self) -> usize {
        let forms = if self.is_encoded { 2 } else { 1 };
        self.stored.body.len() * forms
    }

    /// The coding in which this request gets the response, if any. Ranges are those of the response itself.
    pub(super) fn coding(&self, request: &RequestHead) -> Option<Coding> {
        let is_whole = self.is_encoded && request.header("range").is_none();
        is_whole.then(|| Coding::accepted(request)).flatten()
    }

    /// The response in this coding; `None`: there is no encoded body yet.
    pub(super) fn prepare(
        &mut self,
        request: &RequestHead,
        coding: Option<Coding>,
        is_collapsed: bool,
        now: u64,
    ) -> Option<Prepared> {
        let form = &mut self.forms[index(coding)];
        let body = match coding {
            None => &self.stored.body,
            Some(_) => form.body.as_ref()?,
        };
        let status = CacheStatus {
            forwarded: is_collapsed.then_some(Forwarded::Miss),
            collapsed: is_collapsed,
            ttl: Some(self.stored.meta.freshness.remaining(now)),
            ..CacheStatus::default()
        };
        if is_collapsed || is_selective(request) {
            let form = Stored {
                body: Arc::clone(body),
                ..self.stored.clone()
            };
            return Some(form.prepare(request, (coding, self.is_encoded), status, now));
        }
        let head = match &form.head {
            Some((second, head)) if *second == now => Arc::clone(head),
            _ => {
                let mut head = ResponseHead::default();
                self.stored.meta.write_head(&mut head, now);
                match coding {
                    Some(coding) => apply_head(&mut head, coding),
                    None if self.is_encoded => add_vary(&mut head),
                    None => {}
                }
                set_cache_status(&mut head, status);
                let head = Arc::new(head);
                form.head = Some((now, Arc::clone(&head)));
                head
            }
        };
        let body = match request.method() {
            b"HEAD" => PreparedBody::Omitted {
                length: Some(body.len() as u64),
            },
            _ => super::stored::whole(body),
        };
        Some(Prepared {
            head,
            body,
            is_negotiated: true,
        })
    }

    /// Keeps the encoded body.
    pub(super) fn set_encoded(&mut self, coding: Coding, body: Arc<[u8]>) {
        self.forms[index(Some(coding))].body = Some(body);
    }
}

fn index(coding: Option<Coding>) -> usize {
    match coding {
        None => 0,
        Some(Coding::Zstd) => 1,
        Some(Coding::Brotli) => 2,
        Some(Coding::Gzip) => 3,
    }
}

/// Whether the request may get anything else than the whole response.
fn is_selective(request: &RequestHead) -> bool {
    request.headers().any(|(name, _)| match name {
        [b'i' | b'I', b'f' | b'F', b'-', ..] => true,
        _ => name.eq_ignore_ascii_case(b"range"),
    })
}
