//! The number of threads that a configuration of gunicorn's means.

use std::num::NonZeroUsize;

use crate::builder::ConfigBuilder;
use crate::notation::quoted;
use crate::{Origin, Origins, Threads, WorkerClass};

/// What a class of workers, or its absence, means here.
#[derive(Debug, Default)]
pub(crate) struct Meaning {
    /// For the operator.
    pub(crate) notes: Vec<String>,
    /// The reason for the number of threads, if it follows from gunicorn's default.
    pub(crate) reason: Option<String>,
}

/// Sets the number of threads that a configuration of gunicorn's means where it gives none.
///
/// gunicorn's default is one thread, and an application that has always run alone may not be thread-safe. A worker of
/// gevent's runs requests at the same time.
pub(crate) fn set_threads(builder: &mut ConfigBuilder, origins: &Origins) -> Meaning {
    let config = &mut builder.config;
    let class = config.gunicorn.worker_class;
    let mut meaning = Meaning::default();
    if let Some(class) = class.filter(|class| *class == WorkerClass::Gevent) {
        meaning.notes.push(format!(
            "worker_class = {} (from {}): Lockgate has one kind of worker, whose threads run the application (see threads)",
            quoted(class.name()),
            origins.of("worker_class")
        ));
    }
    let cause = match (class, &config.gunicorn.conf) {
        (Some(WorkerClass::Gevent), _) | (None, None) => return meaning,
        (Some(class), _) => format!("worker_class is {}", class.name()),
        (None, Some(conf)) => format!("{conf} is a configuration of gunicorn's"),
    };
    if *origins.of("threads") == Origin::Default {
        config.threads = Threads::Count(NonZeroUsize::MIN);
        meaning.reason = Some(format!("1 as in gunicorn, because {cause}"));
        meaning.notes.push(format!(
            "threads = 1, as in gunicorn, because {cause} and threads is not set; if the application is thread-safe, set \
             threads to more, or --threads auto"
        ));
    }
    meaning
}
