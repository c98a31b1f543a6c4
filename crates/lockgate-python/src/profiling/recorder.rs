//! The profile that rounds of samples become: labels of requests, and the samples of slow requests.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use lockgate_observe::{Running, request_label};
use lockgate_profile::{
    Activity, MOST_LABELS, MOST_REQUESTS, OTHER_REQUESTS, Profile, RequestSamples, Row, StackId,
    Weight,
};

use super::sampler::{Observation, Round};

/// Most different samples of a slow request; further ones are left out.
const MOST_SAMPLES: usize = 400;
/// Most rows: an encoded profile of that many stays within an answer.
const MOST_ROWS: usize = 100_000;
/// Most bytes of the path of a slow request.
const MOST_PATH: usize = 200;

/// See the module.
pub(super) struct Recorder {
    profile: Profile,
    /// How long a request runs until it is slow.
    slow: Duration,
    labels: HashSet<String>,
    /// The requests that threads run, by TID.
    current: HashMap<u64, Current>,
    /// The CPU time that threads have used since they were last seen running, by TID.
    unspent: HashMap<u64, Duration>,
}

/// A request while it runs.
struct Current {
    began: u64,
    label: String,
    samples: RequestSamples,
}

impl Recorder {
    pub(super) fn new(slow: Duration) -> Self {
        Self {
            profile: Profile::default(),
            slow,
            labels: HashSet::new(),
            current: HashMap::new(),
            unspent: HashMap::new(),
        }
    }

    /// The profile, for a round that adds stacks to it.
    pub(super) fn profile(&mut self) -> &mut Profile {
        &mut self.profile
    }

    /// Adds a round that was made at `now`, in nanoseconds of the monotonic clock. `request` says what a thread has
    /// begun to run.
    pub(super) fn add(&mut self, round: Round, now: u64, request: impl Fn(u64) -> Option<Running>) {
        self.profile.rounds += 1;
        self.profile.failed += round.failed;
        for observation in round.threads {
            self.add_thread(observation, now, &request);
        }
    }

    fn add_thread(
        &mut self,
        observation: Observation,
        now: u64,
        request: impl Fn(u64) -> Option<Running>,
    ) {
        let Observation {
            tid,
            began,
            stack,
            activity,
            cpu,
        } = observation;
        // A short request runs between two samples, so the sample in which a thread is seen running stands for what it
        // has used since the last such one. Else lines at the end of short requests would count more.
        let unspent = self.unspent.entry(tid).or_default();
        *unspent = unspent.saturating_add(cpu);
        let cpu = match activity.is_running() {
            true => std::mem::take(unspent),
            false => Duration::ZERO,
        };
        let weight = Weight { samples: 1, cpu };
        let is_known = (self.current.get(&tid)).is_some_and(|current| current.began == began);
        if !is_known {
            self.finish(tid);
            let running = (began != 0)
                .then(|| request(tid))
                .flatten()
                .filter(|running| running.began == began);
            if let Some(running) = running {
                let current = self.begin(&running);
                self.current.insert(tid, current);
            }
        }
        let label = match self.current.get_mut(&tid) {
            Some(current) => {
                current.samples.duration = Duration::from_nanos(now.saturating_sub(began));
                add_sample(&mut current.samples.samples, stack, &activity, weight);
                current.label.clone()
            }
            None => String::new(),
        };
        let row = Row {
            label,
            stack,
            activity,
        };
        let has_place = self.profile.rows.len() < MOST_ROWS || self.profile.rows.contains_key(&row);
        match has_place {
            true => self.profile.record(row, weight),
            false => self.profile.failed += 1,
        }
    }

    fn begin(&mut self, running: &Running) -> Current {
        let label = request_label(&running.method, &running.target, running.is_cut);
        let has_place = self.labels.len() < MOST_LABELS || self.labels.contains(&label);
        let label = match has_place {
            true => {
                self.labels.insert(label.clone());
                label
            }
            false => OTHER_REQUESTS.to_owned(),
        };
        Current {
            began: running.began,
            label,
            samples: RequestSamples {
                label: own_label(running),
                request_id: String::from_utf8_lossy(&running.request_id).into_owned(),
                duration: Duration::ZERO,
                samples: Vec::new(),
            },
        }
    }

    /// Keeps the samples of a request that has ended, if it is among the slowest.
    fn finish(&mut self, tid: u64) {
        let Some(current) = self.current.remove(&tid) else {
            return;
        };
        if current.samples.duration < self.slow {
            return;
        }
        let requests = &mut self.profile.requests;
        requests.push(current.samples);
        requests.sort_by_key(|request| std::cmp::Reverse(request.duration));
        requests.truncate(MOST_REQUESTS);
    }

    /// The profile at its end.
    pub(super) fn into_profile(mut self) -> Profile {
        let tids: Vec<u64> = self.current.keys().copied().collect();
        for tid in tids {
            self.finish(tid);
        }
        self.profile
    }
}

/// The method and the path, as they are: without the query, which may have secrets.
fn own_label(running: &Running) -> String {
    let path = running.target.split(|byte| matches!(byte, b'?' | b'#'));
    let path = path.into_iter().next().unwrap_or_default();
    let path = &path[..path.len().min(MOST_PATH)];
    let text = |bytes: &[u8]| -> String {
        let visible = |byte: &u8| match byte {
            b'!'..=b'~' => char::from(*byte),
            _ => '?',
        };
        bytes.iter().map(visible).collect()
    };
    format!("{} {}", text(&running.method), text(path))
}

fn add_sample(
    samples: &mut Vec<(StackId, Activity, Weight)>,
    stack: StackId,
    activity: &Activity,
    weight: Weight,
) {
    // Mostly it is the last one again.
    let is_same =
        |(other, doing, _): &(StackId, Activity, Weight)| *other == stack && doing == activity;
    match samples.iter().rposition(is_same) {
        Some(index) => samples[index].2.add(weight),
        None if samples.len() < MOST_SAMPLES => samples.push((stack, activity.clone(), weight)),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(began: u64, target: &str) -> Running {
        Running {
            began,
            method: b"GET".to_vec(),
            target: target.as_bytes().to_vec(),
            is_cut: false,
            client: Vec::new(),
            request_id: b"4bf9".to_vec(),
            is_upgraded: false,
        }
    }

    fn observation(tid: u64, began: u64) -> Observation {
        Observation {
            tid,
            began,
            stack: StackId::EMPTY,
            activity: Activity::Running,
            cpu: Duration::from_millis(2),
        }
    }

    fn round(threads: Vec<Observation>) -> Round {
        Round {
            threads,
            ..Round::default()
        }
    }

    /// How often each label was seen.
    fn labels(profile: &Profile) -> Vec<(&str, u64)> {
        let rows = profile.rows.iter();
        let mut labels: Vec<(&str, u64)> = rows
            .map(|(row, weight)| (row.label.as_str(), weight.samples))
            .collect();
        labels.sort_unstable();
        labels
    }

    #[test]
    fn a_sample_belongs_to_the_request_that_the_scoreboard_has() {
        let mut recorder = Recorder::new(Duration::from_secs(1));
        let of = |began| move |_| Some(running(began, "/users/7?token=secret"));
        recorder.add(round(vec![observation(70, 5)]), 10, of(5));
        recorder.add(round(vec![observation(70, 5)]), 20, |_| None);
        // The next request has begun meanwhile: whose sample it is, is not known.
        recorder.add(round(vec![observation(70, 30)]), 40, of(35));
        recorder.add(round(vec![observation(70, 0)]), 50, of(35));
        let profile = recorder.into_profile();
        assert_eq!(labels(&profile), [("", 2), ("GET /users/*", 2)]);
        assert_eq!((profile.rounds, profile.requests.len()), (4, 0));
    }

    #[test]
    fn cpu_time_goes_to_the_next_sample_in_which_its_thread_runs() {
        let mut recorder = Recorder::new(Duration::from_secs(1));
        let waits = |tid| Observation {
            activity: Activity::Lock,
            ..observation(tid, 0)
        };
        for threads in [
            vec![waits(70), observation(71, 0)],
            vec![waits(70), waits(71)],
            vec![observation(70, 0), waits(71)],
            vec![observation(70, 0)],
        ] {
            recorder.add(round(threads), 1, |_| None);
        }
        let profile = recorder.into_profile();
        let cpu = |activity| {
            let row = Row {
                label: String::new(),
                stack: StackId::EMPTY,
                activity,
            };
            profile.rows[&row].cpu.as_millis()
        };
        assert_eq!(
            (cpu(Activity::Running), cpu(Activity::Lock)),
            (2 + 6 + 2, 0)
        );
    }

    #[test]
    fn slow_requests_keep_their_samples_and_their_paths() {
        const SECOND: u64 = 1_000_000_000;
        let mut recorder = Recorder::new(Duration::from_secs(1));
        // Thread 70 runs a request of two seconds and then a short one; thread 71 one that does not end.
        for tenth in 1..=30 {
            let now = tenth * SECOND / 10;
            let first = if tenth <= 20 { 1 } else { 2 * SECOND + tenth };
            let request = |tid| match tid {
                70 => Some(running(first, "/users/7?token=secret")),
                _ => Some(running(2, "/hang")),
            };
            let threads = vec![observation(70, first), observation(71, 2)];
            recorder.add(round(threads), now, request);
        }
        let profile = recorder.into_profile();
        let requests: Vec<(&str, u64, u64)> = (profile.requests.iter())
            .map(|request| {
                let samples = request.samples[0].2.samples;
                (request.label.as_str(), request.duration.as_secs(), samples)
            })
            .collect();
        assert_eq!(requests, [("GET /hang", 2, 30), ("GET /users/7", 1, 20)]);
        assert_eq!(profile.requests[0].request_id, "4bf9");
    }

    #[test]
    fn labels_are_bounded() {
        let mut recorder = Recorder::new(Duration::from_secs(1));
        for number in 0..MOST_LABELS as u64 + 5 {
            // Letters, which make words and no ids.
            let letter = |place: u64| char::from(b'a' + (number >> (2 * place) & 3) as u8);
            let target: String = std::iter::once('/').chain((0..4).map(letter)).collect();
            recorder.add(round(vec![observation(70, number + 1)]), 1, |_| {
                Some(running(number + 1, &target))
            });
        }
        let profile = recorder.into_profile();
        let labels = labels(&profile);
        assert_eq!(labels.len(), MOST_LABELS + 1);
        assert!(labels.contains(&(OTHER_REQUESTS, 5)), "{labels:?}");
    }
}
