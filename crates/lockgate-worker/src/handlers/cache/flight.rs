//! A request that fetches a response for others, too.

use lockgate_shm::responses::{FlightOutcome, FlightToken, ResponseStore};

/// Ends its flight when it is dropped: those that wait must not wait for a request that is over.
pub(super) struct Flight {
    store: ResponseStore,
    token: Option<FlightToken>,
}

impl Flight {
    pub(super) fn new(store: ResponseStore, token: FlightToken) -> Self {
        Self {
            store,
            token: Some(token),
        }
    }

    /// For those that wait for it; `None`: none can.
    pub(super) fn token(&self) -> Option<FlightToken> {
        self.token.filter(|token| token.is_shared())
    }

    /// Whether another request waits for the response.
    pub(super) fn has_waiters(&self) -> bool {
        self.token
            .is_some_and(|token| self.store.has_waiters(token))
    }

    /// The requests that wait go on.
    pub(super) fn end(mut self, outcome: FlightOutcome) {
        self.end_once(outcome);
    }

    fn end_once(&mut self, outcome: FlightOutcome) {
        if let Some(token) = self.token.take() {
            self.store.end_flight(token, outcome);
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.end_once(FlightOutcome::Failed);
    }
}
