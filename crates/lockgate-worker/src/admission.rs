//! Admission: what the server decides about a request from its head, before it receives the body.
//!
//! Invariant: a request that is refused here reaches neither the application nor a handler that answers in its place.

use std::sync::Arc;
use std::time::Instant;

use lockgate_config::Config;

use crate::exchange::answer::Answer;
use crate::exchange::request::Request;

/// One decision. The event loop asks the stages in their order; the first answer counts.
pub trait Stage: Send + Sync {
    /// Examines the head of a request, whose client is identified, and may change it. Neither waits nor reads a file.
    /// `Some`: the server answers with this.
    fn examine(&self, request: &mut Request, now: Instant) -> Option<Answer>;
}

/// The stages of a worker.
pub struct Admission {
    stages: Vec<Box<dyn Stage>>,
}

impl Admission {
    /// `None` if there is no stage: then nothing of this costs a request anything.
    pub fn new(stages: Vec<Box<dyn Stage>>) -> Option<Arc<Self>> {
        (!stages.is_empty()).then(|| Arc::new(Self { stages }))
    }

    /// Called once for each request when its head is complete.
    pub fn admit(&self, request: &mut Request, now: Instant) {
        for stage in &self.stages {
            if let Some(answer) = stage.examine(request, now) {
                request.admitted.refusal = Some(Box::new(answer));
                return;
            }
        }
    }
}

/// What the settings ask for.
pub fn of(_config: &Config) -> Option<Arc<Admission>> {
    Admission::new(Vec::new())
}
