//! Settings: how Python is run.

use std::time::Duration;

use crate::Collection;
use crate::kind::Kind;
use crate::notation::{duration_text, quoted};
use crate::raw_value::ValueError;
use crate::setting::{Section, Setting, Shape};

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "gc",
        section: Section::Interpreter,
        short: None,
        flags: &["gc"],
        shape: Shape::Value,
        kind: Kind::Word(&["freeze", "idle", "off"]),
        doc: "When Python's cyclic garbage collector runs. `freeze` collects once the application is loaded and hides what \
              is left from the collector (gc.freeze), which goes on to run by itself in the middle of requests. `idle` \
              freezes too, turns the automatic collector off, and each worker collects between requests: when many \
              objects were made, fully when those that stay have grown by a quarter, or when its memory has grown a lot. \
              `off` only turns it off: objects that refer to each other in a circle are then never freed, and a worker \
              grows until it is restarted, unless the application collects by itself. \
              With `idle` and `off`, an application that turned the collector off when it was imported, or turns it on \
              later, keeps what it chose, and the server does not collect.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            let word = value.text()?.trim().to_ascii_lowercase();
            builder.config.gc = Collection::ALL
                .into_iter()
                .find(|choice| choice.name() == word)
                .ok_or_else(|| ValueError::from("must be freeze, idle or off"))?;
            Ok(())
        },
        show: |builder| quoted(builder.config.gc.name()),
    },
    Setting {
        name: "switch_interval",
        section: Section::Interpreter,
        short: None,
        flags: &["switch-interval"],
        shape: Shape::Value,
        kind: Kind::Interval {
            least: Duration::from_micros(100),
            most: Duration::from_secs(1),
        },
        doc: "How long a thread may compute in Python while another one waits for it. It is what sys.setswitchinterval takes. \
              Shorter makes requests that wait for a database answer sooner beside requests that compute, and costs the \
              latter little, more below `1ms`; Python's own default is `5ms`. It is set before \
              the application is imported; one that sets another keeps it.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.switch_interval = value.interval()?;
            Ok(())
        },
        show: |builder| duration_text(builder.config.switch_interval),
    },
    Setting {
        name: "allow_patched_threads",
        section: Section::Interpreter,
        short: None,
        flags: &["allow-patched-threads"],
        shape: Shape::Switch,
        kind: Kind::Switch,
        doc: "Serve an application that has replaced Python's threads and locks. `gevent.monkey.patch_all()` and \
              `eventlet.monkey_patch()` do that. Without this setting such an application is refused at the start with exit code 3: \
              requests run on real threads, and two that want the same lock of gevent or eventlet can hang for ever.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.allow_patched_threads = value.switch()?;
            Ok(())
        },
        show: |builder| builder.config.allow_patched_threads.to_string(),
    },
];
