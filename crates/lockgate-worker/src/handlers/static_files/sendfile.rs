//! `X-Accel-Redirect` and `X-Sendfile`: the application answers with the name of a file, and the server sends it.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use lockgate_files::{Entry, Found, Loaded, Representation, Selection, SharedFile};
use lockgate_http::{BodyLength, LocalResponse, RequestHead, ResponseHead, ShortBody};
use lockgate_observe::Level;

use super::{Shared, clock, take};
use crate::date::unix_seconds;
use crate::exchange::Exchange;
use crate::exchange::answer::Answer;
use crate::exchange::delivery::prepared;
use crate::exchange::handler::{Handled, Handler};
use crate::exchange::prepared::Prepared;
use crate::exchange::request::Request;
use crate::exchange::subscription::Subscription;
use crate::exchange::writer::{
    ClientGone, ClientProbe, DropReason, ExchangeControl, NotTaken, ResponseWriter, Sent,
};
use crate::transport::outbox::SharedBytes;

/// Wraps the writer of each response while there are internal mounts.
pub struct Sendfile(pub(super) Arc<Shared>);

impl Handler for Sendfile {
    fn concerns(&self, request: &Request) -> bool {
        !request.is_subrequest
    }

    fn handle(&self, mut exchange: Exchange) -> Handled {
        exchange.writer = Box::new(SendfileWriter {
            inner: exchange.writer,
            shared: Arc::clone(&self.0),
            request: exchange.request.head.clone(),
            redirect: None,
        });
        Handled::Pass(exchange)
    }
}

struct SendfileWriter {
    inner: Box<dyn ResponseWriter>,
    shared: Arc<Shared>,
    request: RequestHead,
    redirect: Option<Redirect>,
}

/// Which file the application has named.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    /// A path, as in a request (nginx).
    Path(Vec<u8>),
    /// A path in the file system (Apache, lighttpd).
    OnDisk(Vec<u8>),
}

/// The response that names a file.
#[derive(Clone)]
struct Redirect {
    target: Target,
    head: ResponseHead,
}

/// What nginx keeps of a response with X-Accel-Redirect; Set-Cookie may come several times.
const KEPT: [&str; 6] = [
    "Content-Type",
    "Content-Disposition",
    "Cache-Control",
    "Expires",
    "Accept-Ranges",
    "Set-Cookie",
];

/// What describes the body that the application has sent and not the file.
const REPLACED: [&str; 8] = [
    "X-Sendfile",
    "Content-Length",
    "Content-Encoding",
    "Content-MD5",
    "ETag",
    "Last-Modified",
    "Accept-Ranges",
    "Vary",
];

impl Redirect {
    /// `None`: the response names no file.
    fn of(head: &ResponseHead) -> Option<Self> {
        let target = head.headers().find_map(|(name, value)| {
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            match name.len() {
                16 if is("X-Accel-Redirect") => Some(Target::Path(value.to_vec())),
                10 if is("X-Sendfile") => Some(Target::OnDisk(value.to_vec())),
                _ => None,
            }
        })?;
        Some(Self {
            target,
            head: head.clone(),
        })
    }

    /// The head of the file's response: that of the file, and what the application has set for it.
    fn head(&self, file: &ResponseHead) -> ResponseHead {
        let mut head = file.clone();
        for (name, value) in self.head.headers() {
            let is = |known: &&str| name.eq_ignore_ascii_case(known.as_bytes());
            let is_kept = match self.target {
                Target::Path(_) => KEPT.iter().any(is),
                Target::OnDisk(_) => !REPLACED.iter().any(is),
            };
            // What the application's head has is valid.
            let _valid = match is_kept {
                true if name.eq_ignore_ascii_case(b"Set-Cookie") => head.push(name, value),
                true => head.set(name, value),
                false => Ok(()),
            };
        }
        head
    }

    fn respond(&self, entry: &Entry, request: &RequestHead) -> Prepared {
        let selection = Selection::of(request);
        let file = entry.select(&selection);
        let head = self.head(file.head());
        let whole = Representation::new(head, file.content().clone(), file.length());
        prepared(whole.deliver(request, &selection, unix_seconds()))
    }
}

impl SendfileWriter {
    /// The application has finished: sends the file.
    fn redirect(self, redirect: Redirect) {
        let now = Instant::now();
        let files = &self.shared.files;
        let found = match &redirect.target {
            Target::Path(path) => files.find_internal(path, now),
            Target::OnDisk(path) => files.find_on_disk(path, now),
        };
        let place = match found {
            Found::Known(entry) => {
                let response = redirect.respond(&entry, &self.request);
                return self.inner.respond(response, now);
            }
            Found::Unknown(place) => place,
            Found::NotServed | Found::Missing { .. } => return self.refuse(&redirect.target, now),
        };
        let shared = Arc::clone(&self.shared);
        let waiting = Arc::new(Mutex::new(Some((self, redirect))));
        let job = {
            let waiting = Arc::clone(&waiting);
            move || {
                if let Some((writer, redirect)) = take(&waiting) {
                    writer.load(&redirect, &place);
                }
            }
        };
        if let Err(error) = shared.blocking.spawn(job)
            && let Some((writer, _)) = take(&waiting)
        {
            shared.report(&error);
            let answer = LocalResponse::text(503, "").into();
            writer.inner.answer(&answer, now);
        }
    }

    /// Looks at the disk, on a thread that may wait.
    fn load(self, redirect: &Redirect, place: &lockgate_files::Place) {
        let now = Instant::now();
        match self.shared.files.load(place, clock(now)) {
            Loaded::File(entry) => {
                let response = redirect.respond(&entry, &self.request);
                self.inner.respond(response, now);
            }
            Loaded::Failed(problem) => {
                self.shared.report_problem(&problem, now);
                let answer = LocalResponse::text(500, "").into();
                self.inner.answer(&answer, now);
            }
            Loaded::Missing { problem, .. } => {
                if let Some(problem) = problem {
                    self.shared.report_problem(&problem, now);
                }
                self.refuse(&redirect.target, now);
            }
            Loaded::Directory => self.refuse(&redirect.target, now),
        }
    }

    fn refuse(self, target: &Target, now: Instant) {
        let (field, path) = match target {
            Target::Path(path) => ("X-Accel-Redirect", path),
            Target::OnDisk(path) => ("X-Sendfile", path),
        };
        if let Some(more) = self.shared.problems.record(now) {
            let path = path.escape_ascii();
            let message = format!("{field}: {path} names no file of a mount; 404 is sent{more}");
            self.shared
                .error_log
                .write_unless_blocked(Level::Error, &message);
        }
        self.inner.answer(&LocalResponse::text(404, "").into(), now);
    }
}

impl ResponseWriter for SendfileWriter {
    fn start(&mut self, head: &ResponseHead, length: BodyLength) {
        self.redirect = Redirect::of(head);
        if self.redirect.is_none() {
            self.inner.start(head, length);
        }
    }

    fn allows_body(&self) -> bool {
        self.redirect.is_none() && self.inner.allows_body()
    }

    fn send_copy(&mut self, bytes: &[u8]) -> Result<Sent, ClientGone> {
        match self.redirect {
            None => self.inner.send_copy(bytes),
            Some(_) => Ok(Sent::default()),
        }
    }

    fn send_shared(&mut self, bytes: Box<dyn SharedBytes>) -> Result<Sent, ClientGone> {
        match self.redirect {
            None => self.inner.send_shared(bytes),
            Some(_) => Ok(Sent::default()),
        }
    }

    fn send_file(
        &mut self,
        file: Arc<SharedFile>,
        offset: u64,
        length: u64,
    ) -> Result<Sent, ClientGone> {
        match self.redirect {
            None => self.inner.send_file(file, offset, length),
            Some(_) => Ok(Sent::default()),
        }
    }

    fn flush(&mut self) -> Result<(), ClientGone> {
        match self.redirect {
            None => self.inner.flush(),
            Some(_) => Ok(()),
        }
    }

    fn is_committed(&self) -> bool {
        self.inner.is_committed()
    }

    fn discard_response(&mut self) {
        if self.redirect.take().is_none() {
            self.inner.discard_response();
        }
    }

    fn finish(mut self: Box<Self>) -> Result<(), ShortBody> {
        match self.redirect.take() {
            None => self.inner.finish(),
            Some(redirect) => {
                self.redirect(redirect);
                Ok(())
            }
        }
    }

    fn abort(self: Box<Self>) {
        self.inner.abort();
    }

    fn answer(self: Box<Self>, answer: &Answer, now: Instant) {
        self.inner.answer(answer, now);
    }

    fn respond(self: Box<Self>, response: Prepared, now: Instant) {
        self.inner.respond(response, now);
    }

    fn drop_request(self: Box<Self>, why: DropReason, now: Instant) {
        self.inner.drop_request(why, now);
    }

    fn subscribe(self: Box<Self>, subscription: Box<Subscription>) {
        self.inner.subscribe(subscription);
    }

    fn take_over(self: Box<Self>) -> Result<OwnedFd, NotTaken> {
        self.inner.take_over()
    }

    fn client(&mut self) -> &mut dyn ClientProbe {
        self.inner.client()
    }

    fn control(&mut self) -> &mut dyn ExchangeControl {
        self.inner.control()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &[(&str, &str)]) -> ResponseHead {
        let mut head = ResponseHead::default();
        head.set_status(200, b"OK").unwrap();
        for (name, value) in fields {
            head.push(name.as_bytes(), value.as_bytes()).unwrap();
        }
        head
    }

    fn text(head: &ResponseHead) -> String {
        let fields = head.headers().map(|(name, value)| {
            format!(
                "{}: {}",
                String::from_utf8_lossy(name),
                String::from_utf8_lossy(value)
            )
        });
        fields.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn the_head_has_what_nginx_keeps_or_what_describes_no_other_body() {
        let file = head(&[("Content-Type", "text/plain"), ("ETag", "\"f\"")]);
        let own = [
            ("Content-Type", "application/pdf"),
            ("Content-Length", "5"),
            ("ETag", "\"a\""),
            ("Set-Cookie", "a=1"),
            ("Set-Cookie", "b=2"),
            ("Cache-Control", "private"),
            ("X-Frame-Options", "DENY"),
            ("Last-Modified", "x"),
        ];
        let kept = "Content-Type: application/pdf; ETag: \"f\"; Set-Cookie: a=1; Set-Cookie: b=2; \
                    Cache-Control: private";
        let all = format!("{kept}; X-Frame-Options: DENY");
        for (field, expected) in [("X-Accel-Redirect", kept), ("x-sendfile", &all)] {
            let response = head(&[&own[..], &[(field, "/p")]].concat());
            let redirect = Redirect::of(&response).unwrap();
            assert_eq!(text(&redirect.head(&file)), *expected, "{field}");
        }
        assert!(Redirect::of(&head(&own)).is_none());
    }
}
