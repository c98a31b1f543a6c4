//! A profile as text: what threads did, for which requests, in which lines, and the slow requests.

use std::cmp::Reverse;
use std::fmt::Write;
use std::time::Duration;

use super::escape;
use super::names::{Names, Origin, origin, shown_frames};
use super::summary::{HotLine, RequestSum, Summary};
use super::tree::Subject;
use crate::{Activity, Profile, RequestSamples, Weight};

/// Rows of each part; the last row says how many were left out.
const MOST_ROWS: usize = 25;
/// Slow requests.
const MOST_REQUESTS: usize = 10;
/// Stacks of a slow request, and frames of a stack.
const MOST_STACKS: usize = 3;
const MOST_FRAMES: usize = 12;
/// Activities in the row of a request, those that are at least this part of it.
const MOST_ACTIVITIES: usize = 4;
const SMALLEST_SHARE: f64 = 0.01;

/// Appends the profile as lines of text for a terminal. `heading` names the profile.
pub fn write_table(out: &mut Vec<u8>, profile: &Profile, heading: &str) {
    let names = Names::new(profile);
    let summary = Summary::new(profile);
    let mut table = Table {
        text: String::new(),
        profile,
        names: &names,
        whole: summary.total,
    };
    table.line(heading);
    table.head();
    if summary.total.samples > 0 {
        table.activities(&summary);
        table.requests(&summary);
        table.own_times(&summary);
        table.total_times(&summary);
    }
    table.slow_requests();
    out.extend_from_slice(table.text.as_bytes());
}

/// As `100 samples a second for 10.0 s: 34.2 s of threads, 3.1 s of it CPU time`, for the heads of all renderings.
pub(super) fn title(profile: &Profile, whole: Weight) -> String {
    let seconds = profile.duration.as_secs_f64();
    let rate = match profile.interval.as_secs_f64() {
        0.0 => 0.0,
        interval => 1.0 / interval,
    };
    if whole.samples == 0 {
        return format!("{rate:.0} samples a second for {seconds:.1} s: no thread did anything");
    }
    format!(
        "{rate:.0} samples a second for {seconds:.1} s: {} of threads, {} of it CPU time",
        time(profile.time_of(whole.samples)),
        time(whole.cpu)
    )
}

/// What a reader has to know to trust a profile; empty if there is nothing.
pub(super) fn reservations(profile: &Profile) -> Vec<String> {
    let mut texts = Vec::new();
    let all = profile.rounds + profile.missed;
    if profile.missed > 0 {
        let share = profile.missed as f64 / all as f64;
        texts.push(format!(
            "{} of the rounds of samples were left out because the machine was busy; each of the others stands for more time",
            percent(share)
        ));
    }
    let samples: u64 = profile.rows.values().map(|weight| weight.samples).sum();
    if profile.failed > 0 {
        let share = profile.failed as f64 / (samples + profile.failed) as f64;
        texts.push(format!(
            "{} of the samples are missing: their stacks could not be read",
            percent(share)
        ));
    }
    texts
}

/// As `1.54 s`.
pub(super) fn time(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// As `38.9 %`.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// As `network 10.0.0.5:5432 60 %, running 31 %`.
pub(super) fn shares(activities: &[(&Activity, Weight)], whole: Weight) -> String {
    let mut texts = Vec::new();
    for (activity, weight) in activities.iter().take(MOST_ACTIVITIES) {
        let share = weight.samples as f64 / whole.samples.max(1) as f64;
        if share >= SMALLEST_SHARE || texts.is_empty() {
            texts.push(format!("{activity} {:.0} %", share * 100.0));
        }
    }
    texts.join(", ")
}

struct Table<'a> {
    text: String,
    profile: &'a Profile,
    names: &'a Names,
    whole: Weight,
}

impl Table<'_> {
    fn head(&mut self) {
        let title = title(self.profile, self.whole);
        self.line(&title);
        for text in reservations(self.profile) {
            self.line(&text);
        }
    }

    fn activities(&mut self, summary: &Summary<'_>) {
        self.part("Where the time went");
        let rows: Vec<String> = (summary.activities.iter())
            .map(|(activity, weight)| {
                let time = time(self.profile.time_of(weight.samples));
                format!("{:>8}  {time:>9}  {activity}", self.share(*weight))
            })
            .collect();
        self.rows(&rows);
    }

    fn requests(&mut self, summary: &Summary<'_>) {
        self.part("By request");
        let label = |request: &RequestSum<'_>| Subject::Request(request.label).label(self.names);
        let shown = summary.requests.iter().take(MOST_ROWS);
        let width = shown.map(|request| label(request).chars().count()).max();
        let width = width.unwrap_or(0).min(40);
        let rows: Vec<String> = (summary.requests.iter())
            .map(|request| {
                let columns = self.columns(request.total);
                let shares = shares(&request.activities, request.total);
                format!("{columns}  {:width$}  {shares}", label(request))
            })
            .collect();
        self.line("   SHARE       TIME        CPU  REQUEST");
        self.rows(&rows);
    }

    fn own_times(&mut self, summary: &Summary<'_>) {
        let lines = summary.lines.iter().filter(|line| line.own.samples > 0);
        let rows: Vec<String> = lines
            .map(|line| {
                let total = time(self.profile.time_of(line.total.samples));
                let name = self.names.frame(line.frame);
                format!("{}  {total:>9}  {name}", self.columns(line.own))
            })
            .collect();
        if !rows.is_empty() {
            self.part("Lines by their own time");
            self.line("   SHARE        OWN    OWN CPU      TOTAL  LINE");
            self.rows(&rows);
        }
    }

    /// Only lines of the application: what a framework calls is everything.
    fn total_times(&mut self, summary: &Summary<'_>) {
        let mut lines: Vec<&HotLine<'_>> = (summary.lines.iter())
            .filter(|line| origin(&line.frame.file).0 == Origin::Own)
            .collect();
        lines.sort_by_key(|line| (Reverse(line.total.samples), line.frame));
        let rows: Vec<String> = (lines.into_iter())
            .map(|line| {
                let own = time(self.profile.time_of(line.own.samples));
                let name = self.names.frame(line.frame);
                format!("{}  {own:>9}  {name}", self.columns(line.total))
            })
            .collect();
        if !rows.is_empty() {
            self.part("Lines of the application by the time of all that they call");
            self.line("   SHARE      TOTAL  TOTAL CPU        OWN  LINE");
            self.rows(&rows);
        }
    }

    fn slow_requests(&mut self) {
        if self.profile.requests.is_empty() {
            return;
        }
        self.part("Slow requests");
        for request in self.profile.requests.iter().take(MOST_REQUESTS) {
            self.slow_request(request);
        }
        self.left_out(self.profile.requests.len(), MOST_REQUESTS);
    }

    fn slow_request(&mut self, request: &RequestSamples) {
        let id = match request.request_id.as_str() {
            "" => String::new(),
            id => format!(" (id {id})"),
        };
        self.line(&format!(
            "{:>9}  {}{id}",
            time(request.duration),
            request.label
        ));
        let mut samples: Vec<_> = request.samples.iter().collect();
        samples.sort_by_key(|(.., weight)| Reverse(weight.samples));
        let all: u64 = samples.iter().map(|(.., weight)| weight.samples).sum();
        for (stack, activity, weight) in samples.iter().take(MOST_STACKS) {
            let share = percent(weight.samples as f64 / all.max(1) as f64);
            self.line(&format!("           {share:>8}  {activity}"));
            let frames = shown_frames(self.profile, *stack);
            for frame in frames.iter().rev().take(MOST_FRAMES) {
                self.line(&format!(
                    "                       {}",
                    self.names.frame(frame)
                ));
            }
            if frames.len() > MOST_FRAMES {
                self.line("                       …");
            }
        }
    }

    /// The share, time and CPU time of a weight.
    fn columns(&self, weight: Weight) -> String {
        let wall = time(self.profile.time_of(weight.samples));
        format!(
            "{:>8}  {wall:>9}  {:>9}",
            self.share(weight),
            time(weight.cpu)
        )
    }

    fn share(&self, weight: Weight) -> String {
        percent(weight.samples as f64 / self.whole.samples.max(1) as f64)
    }

    fn part(&mut self, heading: &str) {
        self.text.push('\n');
        self.line(heading);
    }

    fn rows(&mut self, rows: &[String]) {
        for row in rows.iter().take(MOST_ROWS) {
            self.line(row);
        }
        self.left_out(rows.len(), MOST_ROWS);
    }

    fn left_out(&mut self, all: usize, most: usize) {
        if all > most {
            // Writing to a String does not fail.
            let _ = writeln!(self.text, "     …  and {} more", all - most);
        }
    }

    fn line(&mut self, line: &str) {
        escape::terminal(&mut self.text, line.trim_end());
        self.text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{Sample, profile, shop};
    use super::*;

    fn written(profile: &Profile) -> String {
        let mut out = Vec::new();
        write_table(&mut out, profile, "Profile of worker 0");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_table_says_where_the_time_went() {
        let expected = include_str!("table/shop.txt");
        assert_eq!(written(&shop()), expected);
    }

    #[test]
    fn what_is_missing_is_said() {
        let mut profile = profile(&[Sample("GET /", "main", Activity::Running, 90, 1)]);
        profile.missed = 100;
        profile.failed = 10;
        let text = written(&profile);
        for part in [
            "100 samples a second for 1.0 s: 1.80 s of threads, 0.00 s of it CPU time\n",
            "50.0 % of the rounds of samples were left out",
            "10.0 % of the samples are missing",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let empty = written(&Profile::default());
        assert_eq!(
            empty,
            "Profile of worker 0\n0 samples a second for 0.0 s: no thread did anything\n"
        );
    }

    #[test]
    fn long_lists_and_stacks_are_cut() {
        let mut samples = Vec::new();
        for number in 0..30 {
            let label: &str = format!("GET /{number}").leak();
            samples.push(Sample(label, "main\u{1b}", Activity::Running, 1, 1));
        }
        let mut profile = profile(&samples);
        let deep: Vec<_> = (0..20).map(|number| format!("f{number}")).collect();
        let stack = super::super::samples::stack(&mut profile.stacks, &deep.join(" "));
        let sample = (stack, Activity::Lock, Weight::default());
        profile.requests = (0..12)
            .map(|_| RequestSamples {
                label: "GET /x".to_owned(),
                request_id: String::new(),
                duration: Duration::from_secs(3),
                samples: vec![sample.clone()],
            })
            .collect();
        let text = written(&profile);
        for (part, count) in [
            ("…  and 5 more", 1),
            ("…  and 2 more", 1),
            ("  f19 (app.py:20)\n", 10),
            ("  f8 (app.py:9)\n                       …\n", 10),
            ("main\\u{1b} (app.py:1)", 2),
        ] {
            assert_eq!(text.matches(part).count(), count, "{part}: {text}");
        }
    }
}
