//! `lockgate.deadline`: the deadline of a request, as the application sees and extends it.

use std::time::{Duration, Instant};

use lockgate_worker::Deadline;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// The longest time that any setting allows.
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
    /// Seconds that remain for the request; 0.0 when its time is up or the request is over.
    fn remaining(&self) -> f64 {
        self.deadline.remaining(Instant::now()).as_secs_f64()
    }

    /// Extends the deadline to at least `seconds` from now; returns the seconds that remain.
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
