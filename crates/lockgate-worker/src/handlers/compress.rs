//! Compression: the writer of each response is wrapped, and the wrapper encodes what the rules and the client allow.

mod body;
mod copies;
mod jitter;
mod prepared;
mod writer;

use std::sync::Arc;

use lockgate_compress::{Coding, CompressRules};
use lockgate_config::Config;
use lockgate_http::RequestHead;

use self::copies::Copies;
use self::writer::CompressWriter;
use crate::app::App;
use crate::blocking_pool::BlockingPool;
use crate::detached_work::DetachedWork;
use crate::exchange::Exchange;
use crate::exchange::handler::{Handled, Handler};
use crate::exchange::request::Request;

/// More bytes are encoded without the GIL, and never in the event loop: with zstd they take 50 µs, with Brotli 200 µs.
const INLINE_AT_MOST: usize = 16 << 10;

/// See the module documentation.
pub struct Compression {
    shared: Arc<Shared>,
}

/// What the writers need.
struct Shared {
    rules: CompressRules,
    has_jitter: bool,
    app: Arc<dyn App>,
    blocking: BlockingPool,
    /// Of static files.
    copies: Copies,
}

/// What the response depends on of the request.
struct Wanted {
    /// The coding that the client prefers, if it accepts one.
    coding: Option<Coding>,
    is_head: bool,
    /// The length of the response could reveal a secret.
    needs_jitter: bool,
    /// Of GET and HEAD.
    if_none_match: Option<Box<[u8]>>,
}

impl Compression {
    /// The handler, if `compress` is on.
    pub fn new(config: &Config, app: &Arc<dyn App>, blocking: &BlockingPool) -> Option<Self> {
        let settings = &config.compress;
        let shared = || Shared {
            rules: CompressRules::new(settings),
            has_jitter: settings.jitter,
            app: Arc::clone(app),
            blocking: blocking.clone(),
            copies: Copies::new(config.static_files.memory),
        };
        settings.is_enabled.then(|| Self {
            shared: Arc::new(shared()),
        })
    }
}

impl Handler for Compression {
    fn concerns(&self, request: &Request) -> bool {
        // Otherwise the server itself is the client.
        !request.is_subrequest
    }

    fn handle(&self, mut exchange: Exchange) -> Handled {
        let wanted = Wanted::of(&exchange.request, self.shared.has_jitter);
        let shared = Arc::clone(&self.shared);
        exchange.writer = Box::new(CompressWriter::new(exchange.writer, shared, wanted));
        Handled::Pass(exchange)
    }
}

impl Shared {
    /// Encodes up to `length` bytes, without the GIL if they are many. Called attached.
    fn encode(&self, length: usize, work: &mut dyn FnMut()) {
        if length > INLINE_AT_MOST {
            self.app.detached(DetachedWork::new(work));
        } else {
            work();
        }
    }
}

impl Wanted {
    fn of(request: &Request, has_jitter: bool) -> Self {
        let head = &request.head;
        let is_head = head.method() == b"HEAD";
        let is_read = is_head || head.method() == b"GET";
        let if_none_match = head.header("if-none-match").filter(|_| is_read);
        Self {
            coding: Coding::accepted(head),
            is_head,
            needs_jitter: has_jitter && request.is_https && has_secret(head),
            if_none_match: if_none_match.map(Into::into),
        }
    }
}

/// Whether the response may contain what only this client may know, beside what others can make it send.
fn has_secret(head: &RequestHead) -> bool {
    head.header("cookie").is_some() || head.header("authorization").is_some()
}
