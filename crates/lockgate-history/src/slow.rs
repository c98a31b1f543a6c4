//! Slow requests: what one was, for how long it ran, and where its thread was seen meanwhile.

use lockgate_profile::{Activity, Frame, StackId, Stacks};

use crate::bytes::{Reader, Writer};

/// Different stacks of a request that are kept: the most frequent ones.
const MOST_SAMPLES: usize = 8;
/// Frames of a stack that are kept: the most recent ones.
const MOST_FRAMES: usize = 40;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowRequest {
    /// Its id: of no other request of the server.
    pub id: u64,
    /// Its method and the shape of its path.
    pub label: String,
    /// Its method.
    pub method: Vec<u8>,
    /// The beginning of its target, as far as the operator may see it.
    pub target: Vec<u8>,
    /// The slot of its worker.
    pub worker: usize,
    /// The kernel TID of its thread.
    pub thread: u64,
    /// When it was complete: milliseconds since 1970.
    pub began: u64,
    /// Nanoseconds that it had run when it was last seen.
    pub nanoseconds: u64,
    /// Whether it still ran then.
    pub is_running: bool,
    /// The client; empty on a unix socket.
    pub client: Vec<u8>,
    /// Its id in logs; empty if requests have none.
    pub request_id: Vec<u8>,
    /// Where its thread was.
    pub samples: Vec<SlowSample>,
}

/// A stack in which the thread of a slow request was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowSample {
    /// How often.
    pub count: u64,
    /// What it did.
    pub activity: Activity,
    /// The most recent frame first.
    pub frames: Vec<Frame>,
}

/// The id of a request: in numbers that JavaScript can represent, for years of uptime.
pub fn request_id(began: u64, thread: u64) -> u64 {
    // Two of one thread may have begun in the same millisecond; they differ in the last bits.
    let number = began % 1024;
    began / 1_000_000 * 4096 + (thread + 61 * number) % 4096
}

impl SlowRequest {
    /// The same without the query string of its target: an earlier process may have recorded it with another setting.
    #[must_use]
    pub fn without_query(mut self) -> Self {
        let end = (self.target.iter()).position(|byte| matches!(byte, b'?' | b'#'));
        self.target.truncate(end.unwrap_or(self.target.len()));
        self
    }

    /// When it was last seen: milliseconds since 1970.
    pub(crate) fn ended(&self) -> u64 {
        self.began.saturating_add(self.nanoseconds / 1_000_000)
    }

    /// Counts a sample of its thread.
    pub(crate) fn sample(&mut self, stacks: &Stacks, stack: StackId, activity: &Activity) {
        let frames: Vec<Frame> = stacks.frames(stack).take(MOST_FRAMES).cloned().collect();
        let known = self.samples.iter_mut();
        let mut same = known.filter(|known| known.activity == *activity && known.frames == frames);
        if let Some(sample) = same.next() {
            sample.count += 1;
        } else {
            // A new one replaces the rarest, which counts as often: where a request is now matters most.
            if self.samples.len() == MOST_SAMPLES {
                self.samples.pop();
            }
            self.samples.push(SlowSample {
                count: 1,
                activity: activity.clone(),
                frames,
            });
        }
        self.samples
            .sort_by_key(|sample| std::cmp::Reverse(sample.count));
    }

    /// Removes the rarest samples until it can be written in this many bytes; returns how many it needs.
    pub(crate) fn fit(&mut self, most_bytes: usize) -> usize {
        loop {
            let mut writer = Writer::default();
            self.write(&mut writer);
            // The kind of the record comes before it.
            let length = writer.finish().len() + 1;
            if length <= most_bytes || self.samples.pop().is_none() {
                return length;
            }
        }
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.numbers(&[
            self.id,
            self.worker as u64,
            self.thread,
            self.began,
            self.nanoseconds,
            self.is_running.into(),
        ]);
        let texts = [
            self.label.as_bytes(),
            &self.method,
            &self.target,
            &self.client,
            &self.request_id,
        ];
        texts.into_iter().for_each(|text| writer.bytes(text));
        writer.number(self.samples.len() as u64);
        self.samples.iter().for_each(|sample| sample.write(writer));
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let [id, worker, thread, began, nanoseconds, is_running] = reader.numbers()?;
        let label = reader.text()?;
        let mut texts = [&[][..]; 4];
        for text in &mut texts {
            *text = reader.bytes()?;
        }
        let [method, target, client, request_id] = texts.map(<[u8]>::to_vec);
        let mut samples = Vec::new();
        for _ in 0..reader.number()? {
            samples.push(SlowSample::read(reader)?);
        }
        Some(Self {
            id,
            label,
            method,
            target,
            worker: usize::try_from(worker).ok()?,
            thread,
            began,
            nanoseconds,
            is_running: is_running != 0,
            client,
            request_id,
            samples,
        })
    }
}

impl SlowSample {
    fn write(&self, writer: &mut Writer) {
        let (number, peer) = match &self.activity {
            Activity::Running => (0, ""),
            Activity::Gil => (1, ""),
            Activity::Lock => (2, ""),
            Activity::Network(peer) => (3, peer.as_str()),
            Activity::Disk => (4, ""),
            Activity::Sleep => (5, ""),
            Activity::Child => (6, ""),
            Activity::Waiting => (7, ""),
        };
        writer.numbers(&[self.count, number]);
        writer.bytes(peer.as_bytes());
        writer.number(self.frames.len() as u64);
        for frame in &self.frames {
            writer.bytes(frame.file.as_bytes());
            writer.bytes(frame.function.as_bytes());
            writer.number(frame.line.into());
        }
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let [count, number] = reader.numbers()?;
        let peer = reader.text()?;
        let activity = match number {
            0 => Activity::Running,
            1 => Activity::Gil,
            2 => Activity::Lock,
            3 => Activity::Network(peer),
            4 => Activity::Disk,
            5 => Activity::Sleep,
            6 => Activity::Child,
            7 => Activity::Waiting,
            _ => return None,
        };
        let mut frames = Vec::new();
        for _ in 0..reader.number()? {
            frames.push(Frame {
                file: reader.text()?,
                function: reader.text()?,
                line: u32::try_from(reader.number()?).ok()?,
            });
        }
        Some(Self {
            count,
            activity,
            frames,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn request(id: u64) -> SlowRequest {
        SlowRequest {
            id,
            label: "GET /orders/*".to_owned(),
            method: b"GET".to_vec(),
            target: b"/orders/7".to_vec(),
            worker: 3,
            thread: 4242,
            began: 1_790_000_000_000,
            nanoseconds: 2_500_000_000,
            is_running: true,
            client: b"::1".to_vec(),
            request_id: b"4bf9".to_vec(),
            samples: Vec::new(),
        }
    }

    fn stacks() -> (Stacks, [StackId; 20]) {
        let mut stacks = Stacks::default();
        let ids = std::array::from_fn(|line| {
            let frame = Frame {
                function: "view".to_owned(),
                file: "/srv/shop/orders.py".to_owned(),
                line: line as u32,
            };
            stacks.push(StackId::EMPTY, &frame)
        });
        (stacks, ids)
    }

    fn read_back(request: &SlowRequest) -> SlowRequest {
        let mut writer = Writer::default();
        request.write(&mut writer);
        let bytes = writer.finish();
        for length in 0..bytes.len() {
            assert_eq!(SlowRequest::read(&mut Reader::new(&bytes[..length])), None);
        }
        SlowRequest::read(&mut Reader::new(&bytes)).unwrap()
    }

    #[test]
    fn a_slow_request_survives_its_record_with_the_samples_that_fit() {
        let (stacks, ids) = stacks();
        let mut request = request(1);
        let activities = [
            Activity::Running,
            Activity::Gil,
            Activity::Lock,
            Activity::Network("10.0.0.5:5432".to_owned()),
            Activity::Disk,
            Activity::Sleep,
            Activity::Child,
            Activity::Waiting,
        ];
        for (number, activity) in activities.iter().enumerate() {
            for _ in number..activities.len() {
                request.sample(&stacks, ids[number], activity);
            }
        }
        assert_eq!(read_back(&request), request);
        let all = request.clone();
        let length = request.fit(4096);
        assert_eq!(request, all);
        assert!(request.fit(length - 1) < length);
        assert_eq!(
            request.samples[..],
            all.samples[..7],
            "the rarest is left out"
        );
        assert!(request.fit(10) > 10 && request.samples.is_empty());
    }

    #[test]
    fn the_most_frequent_stacks_are_kept_and_the_newest_one() {
        let (stacks, ids) = stacks();
        let mut request = request(1);
        for round in 0..3 {
            for stack in &ids[..MOST_SAMPLES - 1 - round] {
                request.sample(&stacks, *stack, &Activity::Running);
            }
        }
        for stack in ids {
            request.sample(&stacks, stack, &Activity::Lock);
            assert!(request.samples.len() <= MOST_SAMPLES);
        }
        assert_eq!(request.samples[0].count, 3);
        let newest = request.samples.last().unwrap();
        assert_eq!((newest.count, newest.frames[0].line), (1, 19));
    }

    #[test]
    fn a_query_of_an_earlier_setting_is_removed() {
        for (target, expected) in [("/a/b?token=1", "/a/b"), ("/a#b", "/a"), ("/a", "/a")] {
            let request = SlowRequest {
                target: target.into(),
                ..request(1)
            };
            assert_eq!(request.without_query().target, expected.as_bytes());
        }
    }

    #[test]
    fn ids_differ_and_are_numbers_of_javascript() {
        let year = 365 * 24 * 3600 * 1_000_000_000;
        assert!(request_id(10 * year, 4095) < 1 << 53);
        assert_ne!(request_id(7_000_000, 1), request_id(7_000_000, 2));
        assert_ne!(request_id(7_000_000, 1), request_id(8_000_000, 1));
        assert_ne!(request_id(7_000_000, 1), request_id(7_000_001, 1));
    }
}
