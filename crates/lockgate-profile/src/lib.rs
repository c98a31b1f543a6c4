//! Profiles of an application: the stacks that its threads were seen in, for which requests, and what they did there.
//!
//! Samples in, values out; the caller has the clock, the threads and the memory that is sampled.
#![forbid(unsafe_code)]

mod activity;
pub use activity::Activity;

mod profile;
pub use profile::{
    MOST_LABELS, MOST_REQUESTS, OTHER_REQUESTS, Profile, RequestSamples, Row, Weight,
};

mod sample;
pub use sample::{Sample, ThreadSample};

pub mod render;

mod stacks;
pub use stacks::{Frame, FrameId, StackId, Stacks};

mod wire;
pub use wire::{DecodeError, MOST_FRAMES};
