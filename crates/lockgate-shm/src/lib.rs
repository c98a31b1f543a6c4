//! Memory that all processes of a server share: caches, locks, a broadcast log, a store of responses and rate
//! limits, which survive the death of any process at any moment.
//!
//! The caller maps the memory and passes it as words: `Store` divides it. A [`Cache`] is a table behind a
//! [`Lock`]. All-zero memory is an empty store, an empty [`Log`], an empty [`responses::ResponseStore`] and empty
//! [`rates::Rates`].
#![forbid(unsafe_code)]

mod hash;

mod lock;
pub use lock::{Guard, Lock, LockError};

mod table;
pub use table::{CachePlan, Entry, Operation, Refused, Table, TableCounts, WhenFull};

mod cache;
pub use cache::{Cache, LockedTable};

mod wake;

mod log;
pub use log::{AppendError, Cursor, Found, Log, LogPlan, Read};

pub mod responses;
pub use responses::{EntryBuffer, EntryId, NewEntry, PurgeEpoch, ResponseStore, ResponseStorePlan};
pub use responses::{Flight, FlightOutcome, FlightState, FlightToken, ResponseCounts};

pub mod rates;
pub use rates::{Rates, RatesPlan};

mod store;
pub use store::{Store, StorePlan};
