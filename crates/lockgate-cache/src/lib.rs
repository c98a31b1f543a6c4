//! The rules of a shared cache (RFC 9111): what is stored, under which key, and when it may be used.
//!
//! All of them are pure functions of heads and of the time, in seconds since 1970. The caller has the store, calls the
//! application and sends the responses:
//!
//! 1. [`key::primary`] is where a request is looked up. What is found there is an [`Entry`]: a response, or the names of
//!    fields that [`key::secondary`] adds to the key.
//! 2. [`reuse()`] says whether the entry answers the request. If it does, [`answer()`] is the response.
//! 3. Otherwise the application is called, with [`revalidation()`] if there was an entry. Its 304 is for [`freshen`];
//!    other responses are stored if [`storable`], and an error may be replaced if [`may_serve_stale_on_error`].
//! 4. A request that [`invalidates`] removes what is at [`invalidated_keys`], and a [`Purge`] what it names.
#![forbid(unsafe_code)]

pub mod key;
pub mod tags;

mod vary;

mod fields;
mod freshness;

mod meta;
mod storing;

mod reuse;

mod revalidation;

mod answer;

mod invalidation;

mod cache_status;

mod purge;

pub use answer::{Answer, AnswerBody, answer};
pub use cache_status::{CacheStatus, Forwarded};
pub use freshness::Freshness;
pub use invalidation::{invalidated_keys, invalidates};
pub use meta::{Entry, Meta};
pub use purge::{Purge, PurgeError, Url};
pub use reuse::{Reuse, may_serve_stale_on_error, reuse, without_entry};
pub use revalidation::{Freshened, freshen, revalidation};
pub use storing::{NotStored, storable};
pub use vary::{Variants, Vary};
