//! One sample of the threads of a worker.

use crate::wire::{DecodeError, Reader, Writer};
use crate::{Activity, StackId, Stacks};

const FORMAT: [u8; 4] = *b"LGS1";

/// Where a thread was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadSample {
    /// The kernel TID.
    pub thread: u64,
    /// When the request that it ran was complete, in nanoseconds of the monotonic clock; 0 if it ran none. The
    /// scoreboard has the request under the same number (`Running::began`).
    pub began: u64,
    /// What it did.
    pub activity: Activity,
    /// Its stack in [`Sample::stacks`].
    pub stack: StackId,
}

/// See the module. Threads without a Python frame and without a request are left out.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// The stacks of the threads.
    pub stacks: Stacks,
    /// The threads.
    pub threads: Vec<ThreadSample>,
}

impl Sample {
    /// For another process, which calls [`Sample::decode`].
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.stacks(&self.stacks);
        writer.number(self.threads.len() as u64);
        for thread in &self.threads {
            writer.number(thread.thread);
            writer.number(thread.began);
            writer.activity(&thread.activity);
            writer.stack(thread.stack);
        }
        writer.finish(FORMAT)
    }

    /// # Errors
    /// When the bytes are not what [`Sample::encode`] of this version writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes, FORMAT)?;
        let (stacks, ids) = reader.stacks()?;
        let mut threads = Vec::new();
        for _ in 0..reader.count()? {
            threads.push(ThreadSample {
                thread: reader.number()?,
                began: reader.number()?,
                activity: reader.activity()?,
                stack: reader.stack(&ids)?,
            });
        }
        reader.finish()?;
        Ok(Self { stacks, threads })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Frame;

    fn sample() -> Sample {
        let mut stacks = Stacks::default();
        let frame = |function: &str, line| Frame {
            function: function.to_owned(),
            file: "/srv/käse.py".to_owned(),
            line,
        };
        let main = stacks.push(StackId::EMPTY, &frame("main", 1));
        let view = stacks.push(main, &frame("Cart.total", u32::MAX));
        let activities = [
            Activity::Running,
            Activity::Gil,
            Activity::Lock,
            Activity::Network("10.0.0.5:5432".to_owned()),
            Activity::Network(String::new()),
            Activity::Disk,
            Activity::Sleep,
            Activity::Child,
            Activity::Waiting,
        ];
        let threads = activities.into_iter().enumerate();
        let threads = threads.map(|(index, activity)| ThreadSample {
            thread: 4242 + index as u64,
            began: u64::MAX - index as u64,
            activity,
            stack: [StackId::EMPTY, main, view][index % 3],
        });
        Sample {
            threads: threads.collect(),
            stacks,
        }
    }

    #[test]
    fn a_sample_survives_its_encoding() {
        let sample = sample();
        let read = Sample::decode(&sample.encode()).unwrap();
        assert_eq!(read.threads, sample.threads);
        for thread in &sample.threads {
            let frames = |sample: &Sample| -> Vec<Frame> {
                sample.stacks.frames(thread.stack).cloned().collect()
            };
            assert_eq!(frames(&read), frames(&sample));
        }
    }

    #[test]
    fn every_cut_of_a_sample_is_refused() {
        let bytes = sample().encode();
        for length in 0..bytes.len() {
            assert!(Sample::decode(&bytes[..length]).is_err(), "{length}");
        }
        let long = [&bytes[..], &[0]].concat();
        assert_eq!(Sample::decode(&long).err(), Some(DecodeError::TooLong));
    }

    #[test]
    fn no_changed_byte_makes_the_decoder_panic() {
        let bytes = sample().encode();
        for index in 0..bytes.len() {
            for value in [0, 1, 8, 0x7f, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[index] = value;
                if let Ok(sample) = Sample::decode(&changed) {
                    for thread in &sample.threads {
                        assert!(sample.stacks.frames(thread.stack).count() <= 2);
                    }
                }
            }
        }
    }
}
