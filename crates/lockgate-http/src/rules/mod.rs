//! The rules for requests that hold in every protocol: target, Host, fields, framing, forwarding headers.

pub(crate) mod fields;

pub(crate) mod method;

pub(crate) mod target;

pub(crate) mod host;

pub(crate) mod framing;

pub(crate) mod forwarded;

pub(crate) mod grammar;
