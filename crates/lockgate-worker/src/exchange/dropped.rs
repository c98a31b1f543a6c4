//! The answers to requests that are dropped before the application is called.

use lockgate_http::LocalResponse;
use lockgate_observe::{Loss, Outcome};

use super::answer::{Account, Answer};
use super::writer::DropReason;

/// Seconds until the client should try again. The queue recovers from an overload within a second; where it does not, a
/// refusal costs less than the idle time of a longer pause.
const RETRY_AFTER: &str = "1";

/// What the client of a dropped request reads; `None` if the client has gone.
pub fn detail_of(why: DropReason) -> Option<&'static str> {
    match why {
        DropReason::Gone => None,
        DropReason::TooLate => Some("no thread became free in time"),
        DropReason::QueueFull => Some("too many requests are waiting"),
        DropReason::HalfClosed => {
            Some("the client closed its side of the connection while it waited")
        }
    }
}

/// The answer to a dropped request. The request was read in full, so the connection may continue: opening another one
/// would cost both sides more than the refusal.
pub fn answer_to(why: DropReason, detail: &str) -> Answer {
    let response = LocalResponse::text(503, detail).with_header("Retry-After", RETRY_AFTER);
    let overloaded = |loss, reason| Account {
        outcome: Outcome::Overloaded,
        loss: Some(loss),
        reason: Some(reason),
        is_foreign: false,
        logged_status: None,
    };
    match why {
        DropReason::TooLate => Answer {
            response,
            account: Some(overloaded(Loss::QueueTimeout, "queue_timeout")),
        },
        DropReason::QueueFull => Answer {
            response,
            account: Some(overloaded(Loss::QueueFull, "queue_full")),
        },
        // The client has most likely gone, and 499 is the accurate status. A client that was only half closed is
        // answered all the same.
        DropReason::HalfClosed | DropReason::Gone => Answer {
            response: response.closing(),
            account: Some(Account {
                outcome: Outcome::ClientGone,
                loss: Some(Loss::ClientGone),
                reason: None,
                is_foreign: false,
                logged_status: Some(499),
            }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_and_its_account_follow_from_the_reason() {
        for (why, close, loss, reason, logged) in [
            (
                DropReason::TooLate,
                false,
                Loss::QueueTimeout,
                Some("queue_timeout"),
                None,
            ),
            (
                DropReason::QueueFull,
                false,
                Loss::QueueFull,
                Some("queue_full"),
                None,
            ),
            (
                DropReason::HalfClosed,
                true,
                Loss::ClientGone,
                None,
                Some(499),
            ),
            (DropReason::Gone, true, Loss::ClientGone, None, Some(499)),
        ] {
            let answer = answer_to(why, "detail");
            assert_eq!(
                (answer.response.status, answer.response.close),
                (503, close)
            );
            let account = answer.account.unwrap();
            assert_eq!(
                (account.loss, account.reason),
                (Some(loss), reason),
                "{why:?}"
            );
            assert_eq!(account.logged_status, logged, "{why:?}");
            assert_eq!(detail_of(why).is_none(), why == DropReason::Gone);
        }
    }
}
