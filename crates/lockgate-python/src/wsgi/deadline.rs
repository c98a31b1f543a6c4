//! `lockgate.deadline`: what an application can know of its request's deadline, and do about it. Knows no other request.

use std::time::{Duration, Instant};

use lockgate_worker::Deadline;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// As long as any setting may be.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// The deadline of one request.
#[pyclass(frozen, name = "Deadline", module = "lockgate._lockgate")]
pub(crate) struct RequestDeadline {
    deadline: Deadline,
}

impl RequestDeadline {
    pub(crate) fn new(deadline: Deadline) -> Self {
        Self { deadline }
    }
}

#[pymethods]
impl RequestDeadline {
    /// Seconds that the request still has; 0.0 when its time or the request is over.
    fn remaining(&self) -> f64 {
        self.deadline.remaining(Instant::now()).as_secs_f64()
    }

    /// Lets the request take so many seconds from now on, if it has less; returns what it has then.
    fn extend(&self, seconds: f64) -> PyResult<f64> {
        let time = Duration::try_from_secs_f64(seconds)
            .ok()
            .filter(|time| *time <= LONGEST)
            .ok_or_else(|| PyValueError::new_err("seconds must be from 0 to those of a year"))?;
        let remaining = self.deadline.extend(time, Instant::now());
        Ok(remaining.as_secs_f64())
    }

    fn __repr__(&self) -> String {
        format!("<lockgate.deadline: {:.3} s left>", self.remaining())
    }
}
