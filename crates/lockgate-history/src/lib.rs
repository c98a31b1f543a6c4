//! The last hour of a server: what it did each second, its slow requests and its events, in bounded memory.
//!
//! Views of the scoreboard in, values out; the caller has the clock, the processes and the shared memory.
#![forbid(unsafe_code)]

mod budget;
mod bytes;
mod event;
pub use event::{Event, EventKind, EventSubject, MOST_TEXT};

mod point;
pub use point::{Counters, Gauges, Moment, Point};

mod paths;
pub use paths::{OTHER_REQUESTS, PathTally, PathUse};

mod slow;
pub use slow::{SlowRequest, SlowSample};

mod failure;
pub use failure::{Cause, Failure, MOST_FAILURE_FRAMES, PendingFailures};

mod record;
pub use record::Record;

mod recorder;
pub use recorder::{Observed, Recorder};

mod log;
pub use log::{EVENTS_PLAN, EventLog, FAILURES_PLAN, FailureLog, HISTORY_PLAN, History};

mod series;
pub use series::{MOST_STEPS, Range, Series, Step};

mod frames;
pub use frames::SourceLines;

mod report;
pub use report::{Logged, Report, Unrecorded, write_event_list};

mod now;
pub use now::{Now, SampledThread, Usage};
