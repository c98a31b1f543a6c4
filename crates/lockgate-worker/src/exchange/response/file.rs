//! The application's response with a file as its whole body: gets conditions and ranges as static files do.

use std::sync::Arc;

use lockgate_files::{Body, Content, Representation, Selection, SharedFile};
use lockgate_http::{BodyLength, RequestHead, ResponseHead};

use super::{Reply, State};
use crate::date::unix_seconds;
use crate::exchange::delivery::prepared_body;
use crate::exchange::prepared::{PreparedBody, send_part};
use crate::exchange::writer::ClientGone;

/// What the client gets of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSent {
    /// All of it; its length has been announced.
    Whole,
    /// A part of it, or the answer to a condition, which needs no file. The response is complete.
    Selected,
}

impl Reply {
    /// Starts the response with a part of a file as its body, and queues what the request asks for of it. The head has
    /// been set. After [`FileSent::Whole`] the caller queues the bytes.
    ///
    /// # Errors
    /// [`ClientGone`] when the client cannot receive it any more.
    pub fn start_file(
        &mut self,
        request: &RequestHead,
        file: &Arc<SharedFile>,
        offset: u64,
        length: u64,
    ) -> Result<FileSent, ClientGone> {
        if self.call.state == State::Building && is_selectable(&self.call.head, request, length) {
            let selection = Selection::of(request);
            if selection.is_selective()
                && let Some(body) = self.select(request, &selection, (file, offset, length))
            {
                self.start(BodyLength::Known(body.length()));
                let mut outcome = Ok(FileSent::Selected);
                if let Some(writer) = self
                    .call
                    .writer
                    .as_mut()
                    .filter(|writer| writer.allows_body())
                {
                    body.for_each(&mut |part| {
                        if let Err(gone) = send_part(&mut **writer, part) {
                            outcome = Err(gone);
                        }
                    });
                }
                return outcome;
            }
            if self.call.head.header("accept-ranges").is_none() {
                // A name and a value without forbidden bytes.
                let _valid = self.call.head.push(b"Accept-Ranges", b"bytes");
            }
        }
        self.start(BodyLength::Known(length));
        Ok(FileSent::Whole)
    }

    /// Replaces the head by that of a part or of the answer to a condition. `None`: the client gets the whole.
    fn select(
        &mut self,
        request: &RequestHead,
        selection: &Selection<'_>,
        (file, offset, length): (&Arc<SharedFile>, u64, u64),
    ) -> Option<PreparedBody> {
        let content = Content::File(Arc::clone(file), offset);
        let whole = Representation::new(self.call.head.clone(), content, length);
        let delivery = whole.deliver(request, selection, unix_seconds());
        if delivery.head.status() == 200 || matches!(delivery.body, Body::Omitted(_)) {
            return None;
        }
        self.call.head.clone_from(&delivery.head);
        Some(prepared_body(delivery.body))
    }
}

/// Whether the response is the current representation of the request's target, and complete.
fn is_selectable(head: &ResponseHead, request: &RequestHead, length: u64) -> bool {
    head.status() == 200
        && matches!(request.method(), b"GET" | b"HEAD")
        && head
            .content_length()
            .is_none_or(|announced| announced == length)
}
