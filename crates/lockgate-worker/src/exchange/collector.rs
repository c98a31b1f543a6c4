//! The writer of the response to a request that the server has made itself: collects it.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Instant;

use lockgate_http::{BodyLength, ResponseHead, ShortBody};

use super::answer::Answer;
use super::dropped;
use super::prepared::{Prepared, send_part};
use super::stored_response::StoredResponse;
use super::writer::{
    ClientGone, ClientProbe, DropReason, ExchangeControl, Presence, PresenceCheck, ResponseWriter,
    Sent,
};
use crate::transport::outbox::SharedBytes;
use lockgate_files::SharedFile;

/// What becomes of the response; `None`: there is none.
pub type OnResponse = Box<dyn FnOnce(Option<StoredResponse>) + Send>;

/// See the module documentation.
pub struct Collector {
    response: StoredResponse,
    on_response: Option<OnResponse>,
    /// Bytes of the largest body.
    limit: usize,
    is_too_long: bool,
}

impl Collector {
    pub fn new(limit: usize, on_response: OnResponse) -> Self {
        Self {
            response: StoredResponse::default(),
            on_response: Some(on_response),
            limit,
            is_too_long: false,
        }
    }

    fn collect(&mut self, bytes: &[u8]) -> Result<Sent, ClientGone> {
        if self.response.body.len() + bytes.len() > self.limit {
            self.is_too_long = true;
            return Err(ClientGone);
        }
        self.response.body.extend_from_slice(bytes);
        Ok(Sent::default())
    }
}

/// A call that ends without a response, and one that panics.
impl Drop for Collector {
    fn drop(&mut self) {
        if let Some(on_response) = self.on_response.take() {
            on_response(None);
        }
    }
}

impl ResponseWriter for Collector {
    fn start(&mut self, head: &ResponseHead, _: BodyLength) {
        self.response.head.clone_from(head);
        self.response.body.clear();
    }

    fn allows_body(&self) -> bool {
        true
    }

    fn send_copy(&mut self, bytes: &[u8]) -> Result<Sent, ClientGone> {
        self.collect(bytes)
    }

    fn send_shared(&mut self, bytes: Box<dyn SharedBytes>) -> Result<Sent, ClientGone> {
        self.collect(bytes.bytes())
    }

    fn send_file(
        &mut self,
        file: Arc<SharedFile>,
        offset: u64,
        length: u64,
    ) -> Result<Sent, ClientGone> {
        let length = usize::try_from(length).map_err(|_| ClientGone)?;
        if length > self.limit {
            self.is_too_long = true;
            return Err(ClientGone);
        }
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, offset)
            .map_err(|_| ClientGone)?;
        self.collect(&bytes)
    }

    fn flush(&mut self) -> Result<(), ClientGone> {
        Ok(())
    }

    fn is_committed(&self) -> bool {
        false
    }

    fn discard_response(&mut self) {
        self.response = StoredResponse::default();
    }

    fn finish(mut self: Box<Self>) -> Result<(), ShortBody> {
        if !self.is_too_long
            && let Some(on_response) = self.on_response.take()
        {
            on_response(Some(std::mem::take(&mut self.response)));
        }
        Ok(())
    }

    fn abort(self: Box<Self>) {}

    fn answer(mut self: Box<Self>, answer: &Answer, _: Instant) {
        if let Some(on_response) = self.on_response.take() {
            on_response(Some(answer.into()));
        }
    }

    fn respond(mut self: Box<Self>, response: Prepared, _: Instant) {
        self.start(&response.head, response.body.framing());
        let mut is_whole = true;
        response.body.for_each(&mut |part| {
            is_whole &= send_part(&mut *self, part).is_ok();
        });
        if is_whole {
            // The Collector's body has no length to miss.
            let _finished = self.finish();
        }
    }

    fn drop_request(self: Box<Self>, why: DropReason, now: Instant) {
        if let Some(detail) = dropped::detail_of(why) {
            self.answer(&dropped::answer_to(why, detail), now);
        }
    }

    fn client(&mut self) -> &mut dyn ClientProbe {
        self
    }

    fn control(&mut self) -> &mut dyn ExchangeControl {
        self
    }
}

/// The client of a held response does not wait for the call.
impl ClientProbe for Collector {
    fn presence(&mut self, _: PresenceCheck) -> Presence {
        Presence::Connected
    }
}

impl ExchangeControl for Collector {
    fn record_environ(&mut self, _: Vec<(String, String)>) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockgate_http::LocalResponse;

    #[test]
    fn a_response_comes_back_whole_or_not_at_all() {
        use std::sync::mpsc::channel;
        let run = |act: &dyn Fn(Box<Collector>)| {
            let (sender, receiver) = channel();
            let report = Box::new(move |response| sender.send(response).unwrap());
            act(Box::new(Collector::new(4, report)));
            receiver.try_recv().unwrap()
        };
        let mut head = ResponseHead::default();
        head.set_status(203, b"").unwrap();
        let found = run(&|mut collector| {
            collector.start(&head, BodyLength::Unknown);
            collector.send_copy(b"ab").unwrap();
            collector.send_copy(b"cd").unwrap();
            collector.finish().unwrap();
        });
        let found: StoredResponse = found.unwrap();
        assert_eq!(
            (found.head.status(), found.body.as_slice()),
            (203, &b"abcd"[..])
        );
        let is_lost = run(&|mut collector| {
            collector.start(&head, BodyLength::Unknown);
            assert!(collector.send_copy(b"abcde").is_err());
            collector.finish().unwrap();
        });
        assert_eq!(is_lost, None);
        let answered = |act: &dyn Fn(Box<Collector>)| run(act).unwrap().head.status();
        let answer = LocalResponse::new(404).into();
        let now = Instant::now();
        assert_eq!(answered(&|collector| collector.answer(&answer, now)), 404);
        let full = DropReason::QueueFull;
        assert_eq!(
            answered(&|collector| collector.drop_request(full, now)),
            503
        );
        assert_eq!(run(&|collector| collector.abort()), None);
        assert_eq!(run(&|collector| drop(collector)), None);
    }
}
