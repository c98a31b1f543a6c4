//! Properties of a process that Python owns: signal handlers, user and group, title, threads of side processes, and forked children.

pub(crate) mod children;
pub(crate) mod privileges;
pub(crate) mod signals;
pub(crate) mod threads;
pub(crate) mod title;
