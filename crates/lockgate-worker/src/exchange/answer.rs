//! An answer of the server itself to a request that does not reach the application, and how it is counted.

use lockgate_http::LocalResponse;
use lockgate_observe::{Loss, Outcome};

/// See the module documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub response: LocalResponse,
    /// How the access log and the metrics count it; `None`: as a complete response.
    pub account: Option<Account>,
}

/// How a refused request is logged and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    pub outcome: Outcome,
    /// `None`: as a response.
    pub loss: Option<Loss>,
    /// The identifier of the reason in the access log.
    pub reason: Option<&'static str>,
    /// Its body is that of another service: `error_pages` do not replace it.
    pub is_foreign: bool,
    /// The status in the access log, where it is another one than the client gets.
    pub logged_status: Option<u16>,
}

impl Answer {
    /// Refuses a request by a rule of the operator; `reason` is the identifier in the access log.
    pub fn refused(response: LocalResponse, reason: &'static str) -> Self {
        Self {
            response,
            account: Some(Account {
                outcome: Outcome::Refused,
                loss: None,
                reason: Some(reason),
                is_foreign: false,
                logged_status: None,
            }),
        }
    }

    /// The same, with the body of another service.
    #[must_use]
    pub fn with_foreign_body(mut self) -> Self {
        if let Some(account) = &mut self.account {
            account.is_foreign = true;
        }
        self
    }

    /// Whether `error_pages` may replace the body.
    pub fn is_own(&self) -> bool {
        !self.account.is_some_and(|account| account.is_foreign)
    }

    /// The identifier of the reason in the access log.
    pub fn reason(&self) -> &'static str {
        (self.account.and_then(|account| account.reason)).unwrap_or("refused")
    }
}

impl From<LocalResponse> for Answer {
    fn from(response: LocalResponse) -> Self {
        Self {
            response,
            account: None,
        }
    }
}
