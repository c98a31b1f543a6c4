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
        doc: "When Python's cyclic garbage collector runs. `freeze` runs a collection after the application is \
              loaded and excludes the remaining objects from later collections (gc.freeze); the collector then \
              continues to run automatically, also during requests. `idle` freezes too, disables the automatic \
              collector, and collects between requests: after many allocations, and in full when the surviving \
              objects have grown by a quarter or the memory has grown considerably; a free-threaded Python \
              decides itself when a collection is due, so `idle` is `freeze` there. `off` only disables the \
              collector: reference cycles are never freed, and a worker grows until it is restarted, unless the \
              application collects by itself. With `idle` and `off`, an application that disables the collector \
              during import or enables it later keeps its choice, and the server does not collect.",
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
        doc: "How long a thread may run Python code while another one waits for the GIL. The value for \
              sys.setswitchinterval. A shorter interval makes requests that wait for a database faster when other \
              requests compute, at a small cost for the latter, which grows below `1ms`; Python's default is `5ms`. \
              It is set before the application is imported, which may change it. With more than 64 WebSockets a worker \
              lengthens it, up to `50ms`, because all threads that wait for the GIL wake up once in each interval.",
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
        doc: "Serve an application that has monkey-patched Python's threads and locks. `gevent.monkey.patch_all()` \
              and `eventlet.monkey_patch()` do that. Without this setting such an application is refused at startup \
              with exit code 3: requests run on real threads, and two threads that wait for the same lock of gevent \
              or eventlet can deadlock.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.allow_patched_threads = value.switch()?;
            Ok(())
        },
        show: |builder| builder.config.allow_patched_threads.to_string(),
    },
];
