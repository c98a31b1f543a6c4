//! The response cache (RFC 9111): answers requests from memory that all workers share, and lets one request fetch a
//! response for all that ask for the same at that time.

mod background;
mod copies;
mod encoded;
mod entries;
mod fill;
mod flight;
mod stored;
mod target;
mod waiting;

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_cache::{Forwarded, Reuse, reuse, revalidation, without_entry};
use lockgate_compress::{Coding, CompressRules};
use lockgate_config::Config;
use lockgate_http::{LocalResponse, RequestHead};
use lockgate_shm::responses::{
    EntryBuffer, Flight as Joined, FlightOutcome, FlightToken, PurgeEpoch,
};

use self::background::Background;
use self::copies::{Copies, StoredCopy};
use self::entries::{Entries, Found};
use self::fill::{CacheWriter, Fill};
use self::flight::Flight;
use self::stored::Stored;
use self::target::Target;
use self::waiting::Waiting;
use super::Parts;
use crate::blocking_pool::BlockingPool;
use crate::date::unix_seconds;
use crate::exchange::Exchange;
use crate::exchange::handler::{Handled, Handler};
use crate::exchange::request::Request;

pub use self::entries::purge_url;

/// See the module documentation.
pub struct Cache {
    entries: Arc<Entries>,
    waiting: Arc<Waiting>,
    background: Background,
    copies: RefCell<Copies>,
    buffer: RefCell<EntryBuffer>,
    computing: BlockingPool,
    /// How long a request waits for the response to another one.
    lock_timeout: Duration,
}

/// A request that the application answers.
struct Miss {
    target: Target,
    key: Vec<u8>,
    since: PurgeEpoch,
    forwarded: Forwarded,
    /// A response that the application may validate.
    stored: Option<Stored>,
    /// What requests have in common that one response may answer; `None`: each is passed on.
    shared_key: Option<Vec<u8>>,
}

/// Where the encoded body of a stored response comes from.
enum Encoding {
    Done(Arc<[u8]>),
    /// Another thread makes it.
    Later(FlightToken),
    /// The response is sent as it is.
    Impossible,
}

/// How a request that the application has to answer relates to others.
enum Joining {
    Leads(Flight),
    Waits(FlightToken, Instant),
    Alone,
}

impl Cache {
    /// `None` if there is no cache.
    ///
    /// # Errors
    /// The system's error when it cannot start a thread.
    pub fn new(parts: &Parts<'_>) -> io::Result<Option<Self>> {
        let Some(store) = parts.responses else {
            return Ok(None);
        };
        let entries = Arc::new(Entries::new(store, &parts.config.cache));
        let resume = Arc::clone(parts.resume);
        let compress = &parts.config.compress;
        let rules = compress.is_enabled.then(|| CompressRules::new(compress));
        Ok(Some(Self {
            waiting: Waiting::start(store, Arc::clone(&resume), parts.panic_guard)?,
            background: Background {
                entries: Arc::clone(&entries),
                resume,
            },
            entries,
            copies: RefCell::new(Copies::new(rules)),
            buffer: RefCell::default(),
            computing: parts.computing.clone(),
            lock_timeout: lock_timeout(parts.config),
        }))
    }

    fn look_up(&self, exchange: Exchange, now: u64) -> Handled {
        let key = target::key(&exchange.request, self.entries.ignored_parameters());
        // Before the entry is read: a purge after this moment concerns what the application answers.
        let since = self.entries.store().epoch();
        let head = &exchange.request.head;
        let mut copies = self.copies.borrow_mut();
        let mut buffer = self.buffer.borrow_mut();
        let found = (self.entries).find(&key, head, &mut buffer, &mut copies, now);
        let (forwarded, stored, shared_key) = match found {
            Found::Nothing => (Forwarded::UriMiss, None, Some(key.clone())),
            Found::OtherVariant { key } => (Forwarded::VaryMiss, None, Some(key)),
            Found::Response(copy) => match reuse(head, &copy.stored.meta, now) {
                Reuse::Fresh { .. } => return self.serve(exchange, copy, since, now),
                Reuse::StaleWhileRevalidate { .. } => {
                    (self.background).validate(&exchange, &key, &copy.stored, since);
                    return self.serve(exchange, copy, since, now);
                }
                Reuse::OnlyIfCached504 => return refuse(exchange),
                Reuse::Miss => (Forwarded::Bypass, None, None),
                Reuse::Revalidate => {
                    let stored = copy.stored.clone();
                    let freshness = &stored.meta.freshness;
                    let forwarded = match freshness.is_fresh(now) {
                        true => Forwarded::Request,
                        false => Forwarded::Stale,
                    };
                    // What is stale at once answers no other request.
                    let is_shared = freshness.ttl > 0 && !freshness.no_cache;
                    let shared_key = is_shared.then(|| stored.key.clone());
                    (forwarded, Some(stored), shared_key)
                }
            },
        };
        drop(buffer);
        drop(copies);
        if stored.is_none() && without_entry(head) == Reuse::OnlyIfCached504 {
            return refuse(exchange);
        }
        let miss = Miss {
            target: Target::of(&exchange.request),
            key,
            since,
            forwarded,
            stored,
            shared_key,
        };
        self.fetch(exchange, miss, now)
    }

    /// Answers from the store.
    fn serve(
        &self,
        mut exchange: Exchange,
        copy: &mut StoredCopy,
        since: PurgeEpoch,
        now: u64,
    ) -> Handled {
        let head = &exchange.request.head;
        let mut coding = copy.coding(head);
        let is_collapsed = exchange.is_collapsed;
        let mut prepared = copy.prepare(head, coding, is_collapsed, now);
        if let (None, Some(missing)) = (&prepared, coding) {
            match self.encode(&exchange, copy, missing, since, now) {
                Encoding::Done(body) => copy.set_encoded(missing, body),
                Encoding::Later(flight) => {
                    let until = exchange.ready_at + self.lock_timeout;
                    // This handler sees it again.
                    exchange.next_handler -= 1;
                    self.waiting.add(exchange, flight, until);
                    return Handled::Taken;
                }
                Encoding::Impossible => coding = None,
            }
            prepared = copy.prepare(head, coding, is_collapsed, now);
        }
        match prepared {
            Some(prepared) => {
                self.entries.store().count_hit();
                Handled::Respond(exchange, prepared)
            }
            // Not reached: identity needs no encoded body.
            None => Handled::Pass(exchange),
        }
    }

    /// The encoded body of a stored response: from the store, or made here if it is small, or by another thread.
    fn encode(
        &self,
        exchange: &Exchange,
        copy: &StoredCopy,
        coding: Coding,
        since: PurgeEpoch,
        now: u64,
    ) -> Encoding {
        let store = self.entries.store();
        let stored = &copy.stored;
        let key = encoded::key_of(stored, coding);
        if let Some(body) = encoded::read(&store, &key) {
            return Encoding::Done(body);
        }
        if stored.body.len() <= encoded::INLINE_AT_MOST {
            let body = encoded::make(&store, (&key, coding), stored, since, now);
            return body.map_or(Encoding::Impossible, Encoding::Done);
        }
        if Instant::now() >= exchange.ready_at + self.lock_timeout {
            return Encoding::Impossible;
        }
        match self.join(&key, exchange, now) {
            Joining::Waits(flight, _) => Encoding::Later(flight),
            Joining::Alone => Encoding::Impossible,
            Joining::Leads(flight) => {
                let Some(token) = flight.token() else {
                    return Encoding::Impossible;
                };
                let stored = stored.clone();
                let job = move || {
                    let made = encoded::make(&store, (&key, coding), &stored, since, now);
                    flight.end(match made {
                        Some(_) => FlightOutcome::Stored,
                        None => FlightOutcome::Failed,
                    });
                };
                match self.computing.spawn(job) {
                    Ok(()) => Encoding::Later(token),
                    Err(_) => Encoding::Impossible,
                }
            }
        }
    }

    /// Passes a request on, or makes it wait for another one.
    fn fetch(&self, mut exchange: Exchange, mut miss: Miss, now: u64) -> Handled {
        let head = &exchange.request.head;
        // The application answers it as it is; a part of a response is not stored.
        let is_part = head.method() != b"GET" || head.header("range").is_some();
        if is_part {
            miss.stored = None;
        }
        let mut flight = None;
        let shared_key = miss.shared_key.take();
        let shared_key = shared_key
            .filter(|_| !is_part && is_like_others(head) && !is_authenticated(&exchange.request));
        if let Some(key) = shared_key.filter(|key| !self.entries.is_marked_uncacheable(key, now)) {
            match self.join(&key, &exchange, now) {
                Joining::Leads(own) => flight = Some((own, key)),
                Joining::Alone => {}
                Joining::Waits(token, until) => {
                    // This handler sees it again.
                    exchange.next_handler -= 1;
                    exchange.is_collapsed = true;
                    self.waiting.add(exchange, token, until);
                    return Handled::Taken;
                }
            }
        }
        self.entries.store().count_miss();
        Handled::Pass(self.wrap(exchange, miss, flight))
    }

    /// Wraps the writer, so that the response is stored.
    fn wrap(
        &self,
        mut exchange: Exchange,
        miss: Miss,
        flight: Option<(Flight, Vec<u8>)>,
    ) -> Exchange {
        let (flight, flight_key) = flight.unzip();
        let mut request = exchange.request.head.clone();
        if is_authenticated(&exchange.request) {
            // The rules about Authorization hold (RFC 9111 §3.5).
            request.set_field(b"Authorization", b"-");
        }
        let has_own_conditions = flight.is_some() || miss.stored.is_some();
        if has_own_conditions {
            let head = &mut exchange.request.head;
            head.remove_fields(is_condition);
            for (name, value) in miss.stored.iter().flat_map(|one| revalidation(&one.meta)) {
                head.set_field(name.as_bytes(), value);
            }
        }
        let fill = Fill {
            request,
            target: miss.target,
            since: miss.since,
            flight,
            flight_key,
            stored: miss.stored,
            has_own_conditions,
            // Without a key there is no place for it.
            is_bypassed: miss.key.is_empty(),
            key: miss.key,
            forwarded: miss.forwarded,
        };
        let entries = Arc::clone(&self.entries);
        exchange.writer = Box::new(CacheWriter::new(exchange.writer, entries, Box::new(fill)));
        exchange
    }

    /// Joins the flight of a key.
    fn join(&self, key: &[u8], exchange: &Exchange, now: u64) -> Joining {
        let store = self.entries.store();
        match store.begin_flight(key, std::process::id(), now) {
            Ok(Joined::Leader(token)) => Joining::Leads(Flight::new(store, token)),
            Ok(Joined::Wait(token)) => {
                let until = exchange.ready_at + self.lock_timeout;
                if Instant::now() < until {
                    return Joining::Waits(token, until);
                }
                // The response takes too long: others wait for this request from now on.
                let taken = store.take_over(token, std::process::id(), now);
                taken.ok().flatten().map_or(Joining::Alone, |token| {
                    Joining::Leads(Flight::new(store, token))
                })
            }
            // The lock cannot be taken: each request is answered for itself.
            Err(_) => Joining::Alone,
        }
    }

    /// Passes on a request whose response is not stored, and may make stored ones invalid.
    fn pass_by(&self, exchange: Exchange, forwarded: Forwarded) -> Handled {
        let miss = Miss {
            target: Target::of(&exchange.request),
            key: Vec::new(),
            since: self.entries.store().epoch(),
            forwarded,
            stored: None,
            shared_key: None,
        };
        Handled::Pass(self.wrap(exchange, miss, None))
    }
}

impl Handler for Cache {
    fn concerns(&self, _: &Request) -> bool {
        true
    }

    fn handle(&self, exchange: Exchange) -> Handled {
        let head = &exchange.request.head;
        match head.method() {
            // The application may take the connection over.
            b"GET" | b"HEAD" if head.header("upgrade").is_some() => Handled::Pass(exchange),
            b"GET" | b"HEAD" if !exchange.request.has_body => {
                self.look_up(exchange, unix_seconds())
            }
            // The response may depend on the body, which is not in the key.
            b"GET" | b"HEAD" => self.pass_by(exchange, Forwarded::Bypass),
            _ => self.pass_by(exchange, Forwarded::Method),
        }
    }
}

/// How long a request waits for another one: half of its time, if it has a deadline, is left for its own call.
fn lock_timeout(config: &Config) -> Duration {
    let own = config.request_timeout.map(|timeout| timeout / 2);
    own.map_or(config.cache.lock_timeout, |own| {
        config.cache.lock_timeout.min(own)
    })
}

/// RFC 9111 §5.2.1.7.
fn refuse(exchange: Exchange) -> Handled {
    let response = LocalResponse::text(504, "the cache has no response that the request accepts");
    Handled::Answer(exchange, response.into())
}

/// Whether the application knows the user otherwise than by Authorization: from the web server in front, from a client
/// certificate, or from what this server has verified or asked another service.
fn is_authenticated(request: &Request) -> bool {
    let has_certificate = request.tls().is_some_and(|tls| tls.peer().is_some());
    let admitted = &request.admitted;
    let is_verified = admitted.user.is_some() || admitted.is_vouched_for;
    is_verified || has_certificate || request.remote_user().is_some()
}

/// Whether the response to another request with the same key may answer this one, too.
fn is_like_others(head: &RequestHead) -> bool {
    const OWN: [&[u8]; 5] = [
        b"authorization",
        b"cache-control",
        b"if-match",
        b"if-unmodified-since",
        b"pragma",
    ];
    head.headers()
        .all(|(name, _)| !OWN.iter().any(|own| own.eq_ignore_ascii_case(name)))
}

/// Conditions that the cache evaluates in place of the application.
fn is_condition(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"if-none-match") || name.eq_ignore_ascii_case(b"if-modified-since")
}
