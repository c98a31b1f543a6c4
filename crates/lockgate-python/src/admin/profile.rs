//! `GET /profile`: samples of all workers over some seconds, as a flame graph, for speedscope, as a table or as JSON.
//!
//! A profile costs the workers CPU time, so a page in a browser must not begin one: the required header needs a preflight
//! request (Fetch, CORS-preflight), which is never allowed here. One profile at a time.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lockgate_observe::{Scoreboard, WorkerView, imf_fixdate};
use lockgate_profile::Profile;
use lockgate_profile::render::{
    Measure, write_flame_graph, write_json, write_speedscope, write_table,
};
use lockgate_supervisor::{LONGEST_PROFILE, StackAnswer, StackBoard, StackRequest, Watch};

use super::answer::{Answer, JSON, TEXT, VERSION};

/// The path of profiles.
pub(super) const PATH: &[u8] = b"/profile";
/// The required header; its value is ignored.
const HEADER: &str = "Lockgate-Action";
const SVG: &str = "image/svg+xml";

const SECONDS: f64 = 10.0;
const SHORTEST: f64 = 0.1;
const RATE: u32 = 100;
const MOST_RATE: u32 = 1000;
/// How long a worker may take to answer after the end of its profile.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Profiling {
    pub(super) board: Option<Arc<StackBoard>>,
    pub(super) scoreboard: Scoreboard,
    /// Locked while workers are sampled.
    pub(super) running: Mutex<()>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Wanted {
    seconds: f64,
    /// Samples a second.
    rate: u32,
    /// The slot of a worker; `None`: all.
    worker: Option<usize>,
    format: Format,
    /// What a flame graph shows first.
    measure: Measure,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    FlameGraph,
    Speedscope,
    Table,
    Json,
}

/// Why there is no profile.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    WithoutHeader,
    /// A parameter of the query, with its value, and what it must be.
    Parameter(String, &'static str),
    Unavailable,
    Busy,
    NoWorker(Option<usize>),
    /// What the workers say.
    Failed(String),
}

impl Profiling {
    /// The answer to a request with this query; `now` is in seconds since 1970, at the begin. It ends when `is_wanted`
    /// is false: when the client has left.
    pub(super) fn answer(
        &self,
        query: &[u8],
        has_header: impl Fn(&str) -> bool,
        is_wanted: impl FnMut() -> bool,
        now: u64,
    ) -> Answer {
        self.profile(query, has_header, is_wanted, now)
            .unwrap_or_else(Answer::from)
    }

    fn profile(
        &self,
        query: &[u8],
        has_header: impl Fn(&str) -> bool,
        is_wanted: impl FnMut() -> bool,
        now: u64,
    ) -> Result<Answer, Refused> {
        if !has_header(HEADER) {
            return Err(Refused::WithoutHeader);
        }
        let wanted = Wanted::read(query)?;
        let board = self.board.as_ref().ok_or(Refused::Unavailable)?;
        // A panic while workers were sampled leaves nothing behind.
        let Ok(_running) = self.running.try_lock() else {
            return Err(Refused::Busy);
        };
        let workers: Vec<WorkerView> = (self.scoreboard.workers())
            .filter(|worker| wanted.worker.is_none_or(|slot| slot == worker.slot))
            .collect();
        if workers.is_empty() {
            return Err(Refused::NoWorker(wanted.worker));
        }
        let duration = Duration::from_secs_f64(wanted.seconds);
        let request = StackRequest::Profile {
            duration,
            rate: wanted.rate,
        };
        let slots: Vec<usize> = workers.iter().map(|worker| worker.slot).collect();
        let pid = |slot| Some(self.scoreboard.worker(slot)?.pid);
        let is_same = |slot| {
            workers
                .iter()
                .any(|one| one.slot == slot && pid(slot) == Some(one.pid))
        };
        let watch = Watch {
            is_wanted,
            has_ended: |slot| !is_same(slot),
        };
        let answers = board.ask_while(&slots, request, duration + ANSWER_TIMEOUT, watch);
        let (profile, sources) = merged(slots.into_iter().zip(answers))?;
        let heading = heading(&sources, now.cast_signed());
        Ok(wanted.format.answer(&profile, &heading, wanted.measure))
    }
}

/// The slots of the workers in a profile, and why others are not in it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sources {
    present: Vec<usize>,
    absent: Vec<(usize, String)>,
}

fn merged(
    answers: impl Iterator<Item = (usize, Option<StackAnswer>)>,
) -> Result<(Profile, Sources), Refused> {
    let mut profile = Profile::default();
    let mut sources = Sources::default();
    for (slot, answer) in answers {
        let answer = answer.unwrap_or_else(|| Err("it has not answered".to_owned()));
        let decoded = answer.and_then(|bytes| {
            Profile::decode(&bytes).map_err(|error| format!("its answer is not readable: {error}"))
        });
        match decoded {
            Ok(part) => {
                profile.merge(&part);
                sources.present.push(slot);
            }
            Err(problem) => sources.absent.push((slot, problem)),
        }
    }
    if sources.present.is_empty() {
        return Err(Refused::Failed(sources.problems()));
    }
    Ok((profile, sources))
}

impl Sources {
    /// As `worker 2: it has not answered`; equal problems once.
    fn problems(&self) -> String {
        let mut texts: Vec<String> = Vec::new();
        for (slot, problem) in &self.absent {
            let is_repeated = self.absent[0].1 == *problem && self.absent[0].0 != *slot;
            if !is_repeated {
                texts.push(format!("worker {slot}: {problem}"));
            }
        }
        texts.join("; ")
    }
}

/// As `Profile of 4 workers, 29 Nov 2026 23:40:12 GMT`.
fn heading(sources: &Sources, unix_seconds: i64) -> String {
    let whose = match (&*sources.present, sources.absent.len()) {
        (present, 1..) => {
            let all = present.len() + sources.absent.len();
            format!(
                "{} of {all} workers ({})",
                present.len(),
                sources.problems()
            )
        }
        ([slot], 0) => format!("worker {slot}"),
        (present, 0) => format!("{} workers", present.len()),
    };
    // Without the day of the week.
    let date = String::from_utf8_lossy(&imf_fixdate(unix_seconds)[5..]).into_owned();
    format!("Profile of {whose}, {date}")
}

impl Wanted {
    fn read(query: &[u8]) -> Result<Self, Refused> {
        let query = String::from_utf8_lossy(query);
        let mut wanted = Self {
            seconds: SECONDS,
            rate: RATE,
            worker: None,
            format: Format::FlameGraph,
            measure: Measure::Wall,
        };
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let refused = |must_be| Refused::Parameter(part.to_owned(), must_be);
            match name {
                "seconds" => {
                    let longest = LONGEST_PROFILE.as_secs_f64();
                    wanted.seconds = (value.parse().ok())
                        .filter(|seconds| (SHORTEST..=longest).contains(seconds))
                        .ok_or_else(|| refused("seconds must be a number from 0.1 to 600"))?;
                }
                "rate" => {
                    wanted.rate = (value.parse().ok())
                        .filter(|rate| (1..=MOST_RATE).contains(rate))
                        .ok_or_else(|| {
                            refused("rate must be a number of samples a second, from 1 to 1000")
                        })?;
                }
                "worker" => {
                    let slot = value.parse();
                    wanted.worker = Some(slot.map_err(|_| {
                        refused("worker must be the number of a worker, as in /status: 0, 1, …")
                    })?);
                }
                "format" => {
                    wanted.format = match value {
                        "svg" => Format::FlameGraph,
                        "speedscope" => Format::Speedscope,
                        "table" => Format::Table,
                        "json" => Format::Json,
                        _ => return Err(refused("format must be svg, speedscope, table or json")),
                    };
                }
                "first" => {
                    wanted.measure = match value {
                        "wall" => Measure::Wall,
                        "cpu" => Measure::Cpu,
                        _ => return Err(refused("first must be wall or cpu")),
                    };
                }
                _ => return Err(refused("there are seconds, rate, worker, format and first")),
            }
        }
        Ok(wanted)
    }
}

impl Format {
    fn answer(self, profile: &Profile, heading: &str, measure: Measure) -> Answer {
        let mut body = Vec::new();
        match self {
            Self::FlameGraph => {
                write_flame_graph(&mut body, profile, heading, measure);
                Answer::ok(SVG, body)
            }
            Self::Speedscope => {
                write_speedscope(&mut body, profile, heading, VERSION);
                Answer::ok(JSON, body)
            }
            Self::Table => {
                write_table(&mut body, profile, heading);
                Answer::ok(TEXT, body)
            }
            Self::Json => {
                write_json(&mut body, profile, heading);
                Answer::ok(JSON, body)
            }
        }
    }
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Self {
        let (status, reason) = match refused {
            Refused::WithoutHeader | Refused::Parameter(..) => (400, "Bad Request"),
            Refused::NoWorker(Some(_)) => (404, "Not Found"),
            Refused::Unavailable | Refused::Failed(_) => (501, "Not Implemented"),
            Refused::Busy | Refused::NoWorker(None) => (503, "Service Unavailable"),
        };
        Self::text(status, reason, &format!("{refused}\n"))
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WithoutHeader => write!(f, "a profile needs the header {HEADER}, with any value"),
            Self::Parameter(part, must_be) => write!(f, "{part}: {must_be}"),
            Self::Unavailable => f.write_str("profiles are available on Linux only"),
            Self::Busy => {
                f.write_str("another profile is in progress: try again when it has ended")
            }
            Self::NoWorker(None) => f.write_str("no worker serves: try again when one does"),
            Self::NoWorker(Some(slot)) => {
                write!(
                    f,
                    "worker {slot} does not serve: /status lists those that do"
                )
            }
            Self::Failed(problems) => write!(f, "no worker can be profiled: {problems}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Wanted = Wanted {
        seconds: 10.0,
        rate: 100,
        worker: None,
        format: Format::FlameGraph,
        measure: Measure::Wall,
    };

    #[test]
    fn a_query_says_how_long_how_often_whom_and_in_which_format() {
        for (query, expected) in [
            ("", DEFAULT),
            (
                "seconds=0.5&rate=1000",
                Wanted {
                    seconds: 0.5,
                    rate: 1000,
                    ..DEFAULT
                },
            ),
            (
                "seconds=600",
                Wanted {
                    seconds: 600.0,
                    ..DEFAULT
                },
            ),
            (
                "worker=3&",
                Wanted {
                    worker: Some(3),
                    ..DEFAULT
                },
            ),
            (
                "format=svg&first=cpu",
                Wanted {
                    measure: Measure::Cpu,
                    ..DEFAULT
                },
            ),
            (
                "format=speedscope",
                Wanted {
                    format: Format::Speedscope,
                    ..DEFAULT
                },
            ),
            (
                "format=table",
                Wanted {
                    format: Format::Table,
                    ..DEFAULT
                },
            ),
            (
                "format=json",
                Wanted {
                    format: Format::Json,
                    ..DEFAULT
                },
            ),
        ] {
            assert_eq!(Wanted::read(query.as_bytes()), Ok(expected), "{query}");
        }
    }

    #[test]
    fn a_wrong_parameter_is_named_with_what_it_must_be() {
        for query in [
            "seconds=0",
            "seconds=601",
            "seconds=NaN",
            "seconds=inf",
            "seconds",
            "seconds=x",
            "rate=0",
            "rate=1001",
            "rate=-1",
            "rate=1.5",
            "worker=x",
            "worker=-1",
            "format=",
            "format=pdf",
            "first=both",
            "minutes=1",
            "\u{fffd}",
        ] {
            let Err(refused) = Wanted::read(query.as_bytes()) else {
                panic!("{query} is taken");
            };
            let text = refused.to_string();
            assert!(text.starts_with(&format!("{query}: ")), "{text}");
            assert_eq!(Answer::from(refused).status.0, 400);
        }
    }

    fn answer(slots: &[(usize, Option<StackAnswer>)]) -> Result<(Profile, Sources), Refused> {
        merged(slots.iter().cloned())
    }

    #[test]
    fn a_profile_says_which_workers_are_not_in_it() {
        let part = || {
            Some(Ok(Profile {
                rounds: 10,
                ..Profile::default()
            }
            .encode()))
        };
        for (answers, rounds, expected) in [
            (
                vec![(0, part())],
                10,
                "Profile of worker 0, 30 Nov 2026 00:00:12 GMT",
            ),
            (
                vec![(0, part()), (2, part())],
                20,
                "Profile of 2 workers, 30 Nov 2026 00:00:12 GMT",
            ),
            (
                vec![
                    (0, part()),
                    (1, None),
                    (2, Some(Err("no".to_owned()))),
                    (3, Some(Ok(vec![1]))),
                ],
                10,
                "Profile of 1 of 4 workers (worker 1: it has not answered; worker 2: no; worker 3: its answer is not readable",
            ),
        ] {
            let (profile, sources) = answer(&answers).unwrap();
            assert_eq!(profile.rounds, rounds);
            let heading = heading(&sources, 1_795_996_812);
            assert!(heading.starts_with(expected), "{heading}");
        }
    }

    #[test]
    fn without_any_worker_the_problems_are_the_answer() {
        let refusal = |slot| (slot, Some(Err("not with this Python".to_owned())));
        let refused = answer(&[refusal(0), refusal(1), (2, None)]).unwrap_err();
        let text = "no worker can be profiled: worker 0: not with this Python; worker 2: it has not answered";
        assert_eq!(refused.to_string(), text);
        for (refused, status) in [
            (refused, 501),
            (Refused::Unavailable, 501),
            (Refused::Busy, 503),
            (Refused::NoWorker(None), 503),
            (Refused::NoWorker(Some(7)), 404),
            (Refused::WithoutHeader, 400),
        ] {
            assert_eq!(Answer::from(refused).status.0, status);
        }
    }
}
