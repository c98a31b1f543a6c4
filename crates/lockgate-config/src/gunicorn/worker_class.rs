//! gunicorn's classes of workers, and what Lockgate's one kind of worker does in their place.

/// gunicorn's classes of workers that Lockgate's one kind of worker replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerClass {
    /// One request at a time.
    Sync,
    /// Threads.
    Gthread,
    /// Greenlets.
    Gevent,
}

/// What classes of other kinds are for, by a part of their names, and what to do instead.
const ELSEWHERE: [(&str, &str); 8] = [
    ("uvicorn", ASGI),
    ("asgi", ASGI),
    ("hypercorn", ASGI),
    (
        "websocket",
        "remove it, and install simple-websocket: Flask-SocketIO and flask-sock use it in threads (async_mode=\"threading\")",
    ),
    (
        "eventlet",
        "remove it: requests run in threads, which wait as cheaply as greenlets do; do not patch Python with eventlet",
    ),
    (
        "tornado",
        "remove it for a WSGI application; run a Tornado application with Tornado's own server",
    ),
    ("meinheld", "remove it: connections occupy no thread"),
    (
        "aiohttp",
        "run the application with aiohttp's own server: Lockgate serves WSGI only",
    ),
];

const ASGI: &str = "remove it for a WSGI application; run an ASGI application with uvicorn: Lockgate serves WSGI only";

impl WorkerClass {
    /// Its name in gunicorn.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Gthread => "gthread",
            Self::Gevent => "gevent",
        }
    }

    /// Parses gunicorn's names: short, with the module, or as an entry point. The error says what to do instead.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let name = text.strip_prefix("egg:gunicorn#").unwrap_or(text);
        match name {
            "sync" | "SyncWorker" | "gunicorn.workers.sync.SyncWorker" => Ok(Self::Sync),
            "gthread" | "ThreadWorker" | "gunicorn.workers.gthread.ThreadWorker" => {
                Ok(Self::Gthread)
            }
            "gevent"
            | "gevent_wsgi"
            | "gevent_pywsgi"
            | "gunicorn.workers.ggevent.GeventWorker"
            | "gunicorn.workers.ggevent.GeventPyWSGIWorker" => Ok(Self::Gevent),
            _ => {
                let lower = name.to_ascii_lowercase();
                let known = ELSEWHERE.iter().find(|(part, _)| lower.contains(part));
                let advice = known.map_or(
                    "remove it: there is one kind of worker; its threads are set by threads",
                    |(_, advice)| advice,
                );
                Err(format!("is not supported; {advice}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gunicorns_classes_are_known_by_all_their_names() {
        use WorkerClass::{Gevent, Gthread, Sync};
        for (text, expected) in [
            ("sync", Ok(Sync)),
            ("egg:gunicorn#sync", Ok(Sync)),
            ("gunicorn.workers.sync.SyncWorker", Ok(Sync)),
            ("gthread", Ok(Gthread)),
            ("gunicorn.workers.gthread.ThreadWorker", Ok(Gthread)),
            ("gevent", Ok(Gevent)),
            ("gevent_wsgi", Ok(Gevent)),
            ("gevent_pywsgi", Ok(Gevent)),
            ("gunicorn.workers.ggevent.GeventPyWSGIWorker", Ok(Gevent)),
            ("tornado", Err("Tornado's own server")),
            ("eventlet", Err("threads")),
            ("gunicorn.workers.geventlet.EventletWorker", Err("eventlet")),
            ("asgi", Err("uvicorn")),
            (
                "uvicorn.workers.UvicornWorker",
                Err("run an ASGI application with uvicorn"),
            ),
            ("uvicorn_worker.UvicornH11Worker", Err("uvicorn")),
            ("aiohttp.GunicornWebWorker", Err("aiohttp's own server")),
            ("egg:meinheld#gunicorn_worker", Err("remove it")),
            (
                "geventwebsocket.gunicorn.workers.GeventWebSocketWorker",
                Err("simple-websocket"),
            ),
            ("shop.workers.MyWorker", Err("there is one kind of worker")),
        ] {
            match (WorkerClass::parse(text), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{text}"),
                (Err(found), Err(part)) => assert!(found.contains(part), "{text}: {found}"),
                (found, expected) => panic!("{text}: {found:?} is not {expected:?}"),
            }
        }
    }
}
