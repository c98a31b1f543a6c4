//! `OPTIONS *`: a question about the server and not about the application (RFC 9110 §9.3.7).

use lockgate_http::LocalResponse;

use crate::exchange::Exchange;
use crate::exchange::handler::{Handled, Handler};
use crate::exchange::request::Request;

/// See the module documentation.
pub struct ServerOptions;

impl Handler for ServerOptions {
    #[inline]
    fn concerns(&self, request: &Request) -> bool {
        request.head.is_server_wide_options()
    }

    fn handle(&self, exchange: Exchange) -> Handled {
        Handled::Answer(exchange, LocalResponse::new(200).into())
    }
}
