//! The rules that hold in every protocol: method, target, Host, fields, framing and forwarding headers of requests, and
//! the content of responses.

pub(crate) mod fields;

pub(crate) mod method;

pub(crate) mod target;

pub(crate) mod host;

pub(crate) mod framing;

pub(crate) mod forwarded;

pub(crate) mod content;

pub(crate) mod grammar;
