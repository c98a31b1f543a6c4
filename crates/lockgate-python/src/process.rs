//! Properties of a process that Python owns: signal handlers, user and group, title, and forked children.

pub(crate) mod children;
pub(crate) mod privileges;
pub(crate) mod signals;
pub(crate) mod title;
