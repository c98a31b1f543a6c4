//! The life of a worker process: startup and warm-up, thread dumps and crash log while it serves, and shutdown.

mod leftovers;
pub(crate) mod startup;
pub(crate) mod static_sources;
mod stream_check;
pub(crate) mod tls;
mod warm_up;
mod wrapping;

pub(crate) mod control;
pub(crate) mod faulthandler_log;
pub(crate) mod gunicorn;
pub(crate) mod loggers;
mod thread_dump;

pub(crate) mod shutdown;
