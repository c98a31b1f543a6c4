//! Warm-up: a request to the application before the first request of a client; its response is discarded.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use lockgate_config::Config;
use lockgate_http::{BodyLength, Event, RequestParser, ResponseHead, ShortBody};

use crate::admission::Admission;
use crate::app::App;
use crate::client::{Client, Local};
use crate::exchange::answer::Answer;
use crate::exchange::prepared::Prepared;
use crate::exchange::request::Request;
use crate::exchange::response::Reply;
use crate::exchange::writer::{
    ClientGone, ClientProbe, DropReason, ExchangeControl, Presence, PresenceCheck, ResponseWriter,
    Sent,
};
use crate::metrics::CallRecord;
use crate::transport::outbox::SharedBytes;
use crate::worker::limits_of;
use lockgate_files::SharedFile;

/// The status of the response to a GET request for `target`, of the application that clients would get it from; `None`
/// when the response broke off.
///
/// `local` is the listener that the request seems to come from. The caller is attached, as for [`App::call`].
pub fn ask(app: &dyn App, target: &str, local: Local, config: &Config) -> Option<u16> {
    let mut request = Request::default();
    let text = format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: lockgate-warmup\r\nConnection: close\r\n\r\n"
    );
    let mut protocol = RequestParser::new(limits_of(config));
    let mut rest = text.as_bytes();
    loop {
        let (used, event) = protocol.step(rest, &mut request.head).ok()?;
        rest = rest.get(used..).unwrap_or_default();
        match event {
            Event::End => break,
            Event::NeedMore | Event::Paused => return None,
            Event::Head | Event::Body(_) => {}
        }
    }
    if let Some(refusal) = Admission::place(config, &mut request) {
        return Some(refusal.response.status);
    }
    request.client = Arc::new(Client::new("127.0.0.1", "0"));
    request.is_https = local.is_tls;
    request.local = Arc::new(local);
    let answer = Arc::<Mutex<Outcome>>::default();
    let mut reply = Reply::default();
    let writer = Box::new(Discard {
        answer: Arc::clone(&answer),
    });
    reply.open(writer, None, None, CallRecord::default());
    app.call(&mut request, &mut reply);
    if !reply.is_over() {
        reply.fail(500);
    }
    let answer = answer.lock().unwrap_or_else(PoisonError::into_inner);
    answer.status.filter(|_| answer.is_complete)
}

#[derive(Default)]
struct Outcome {
    status: Option<u16>,
    is_complete: bool,
}

/// Accepts everything and keeps the status. Nothing is sent, so a response that fails half-way can still become a 500.
struct Discard {
    answer: Arc<Mutex<Outcome>>,
}

impl Discard {
    fn update(&self, change: impl FnOnce(&mut Outcome)) {
        change(&mut self.answer.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl ResponseWriter for Discard {
    fn start(&mut self, head: &ResponseHead, _: BodyLength) {
        self.update(|answer| answer.status = Some(head.status()));
    }
    fn allows_body(&self) -> bool {
        true
    }
    fn send_copy(&mut self, _: &[u8]) -> Result<Sent, ClientGone> {
        Ok(Sent::default())
    }
    fn send_shared(&mut self, _: Box<dyn SharedBytes>) -> Result<Sent, ClientGone> {
        Ok(Sent::default())
    }
    fn send_file(&mut self, _: Arc<SharedFile>, _: u64, _: u64) -> Result<Sent, ClientGone> {
        Ok(Sent::default())
    }
    fn flush(&mut self) -> Result<(), ClientGone> {
        Ok(())
    }
    fn is_committed(&self) -> bool {
        false
    }
    fn finish(self: Box<Self>) -> Result<(), ShortBody> {
        self.update(|answer| answer.is_complete = true);
        Ok(())
    }
    fn abort(self: Box<Self>) {}
    fn answer(self: Box<Self>, _: &Answer, _: Instant) {}
    fn respond(self: Box<Self>, _: Prepared, _: Instant) {}
    fn drop_request(self: Box<Self>, _: DropReason, _: Instant) {}
    fn discard_response(&mut self) {
        self.update(|answer| answer.status = None);
    }
    fn client(&mut self) -> &mut dyn ClientProbe {
        self
    }
    fn control(&mut self) -> &mut dyn ExchangeControl {
        self
    }
}

impl ClientProbe for Discard {
    fn presence(&mut self, _: PresenceCheck) -> Presence {
        Presence::Connected
    }
}

impl ExchangeControl for Discard {
    fn record_environ(&mut self, _: Vec<(String, String)>) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockgate_config::{AppSpec, HostPattern, MountedApp, RouteConfig, RouteRules};

    struct Function<F>(F);

    impl<F: Fn(&mut Request, &mut Reply) + Send + Sync + 'static> App for Function<F> {
        fn call(&self, request: &mut Request, reply: &mut Reply) {
            (self.0)(request, reply);
        }
    }

    fn asked(
        target: &str,
        answer: impl Fn(&mut Request, &mut Reply) + Send + Sync + 'static,
    ) -> Option<u16> {
        let config = Config::with_defaults(AppSpec::Module {
            module: "app".into(),
            attribute: None,
        });
        ask(&Function(answer), target, Local::default(), &config)
    }

    #[test]
    fn the_application_gets_a_complete_request_and_its_status_is_returned() {
        let status = asked("/a?b=1", |request, reply| {
            assert_eq!(
                (request.head.path(), request.head.query()),
                (&b"/a"[..], &b"b=1"[..])
            );
            assert_eq!(request.head.host(), Some(&b"localhost"[..]));
            assert_eq!(request.client().host(), "127.0.0.1");
            reply.head().set_status(204, b"No Content").unwrap();
            reply.start(BodyLength::Known(0));
            reply.finish().unwrap();
        });
        assert_eq!(status, Some(204));
    }

    #[test]
    fn an_unfinished_response_is_a_500_and_an_aborted_one_has_no_status() {
        let begun = |reply: &mut Reply| {
            reply.head().set_status(200, b"OK").unwrap();
            reply.start(BodyLength::Unknown);
            reply.send_copy(b"half").unwrap();
        };
        assert_eq!(asked("/", |_, _| {}), Some(500));
        assert_eq!(asked("/", move |_, reply| begun(reply)), Some(500));
        assert_eq!(
            asked("/", move |_, reply| {
                begun(reply);
                reply.abort();
            }),
            None
        );
    }

    #[test]
    fn the_mount_of_the_target_is_asked() {
        let mut config = Config::with_defaults(AppSpec::parse("a:b").unwrap());
        config.root_path = "/shop".to_owned();
        config.routes.routes.push(RouteConfig {
            host: HostPattern::Any,
            path: "/admin".to_owned(),
            mount: Some(MountedApp::new(AppSpec::parse("c:d").unwrap())),
            rules: RouteRules::default(),
        });
        for (target, expected) in [
            ("/", Some(200)),
            ("/administrator", Some(200)),
            ("/admin", Some(201)),
            ("/shop/admin/x?y", Some(201)),
            ("/admin/../x", Some(400)),
        ] {
            let app = Function(|request: &mut Request, reply: &mut Reply| {
                let status = 200 + request.mount();
                reply.head().set_status(status, b"OK").unwrap();
                reply.start(BodyLength::Known(0));
                reply.finish().unwrap();
            });
            let status = ask(&app, target, Local::default(), &config);
            assert_eq!(status, expected, "{target}");
        }
    }

    #[test]
    fn an_invalid_target_is_not_requested() {
        assert_eq!(asked("/a b", |_, _| panic!("asked")), None);
    }
}
