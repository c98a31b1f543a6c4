//! Thread dumps of all workers: the output of Python's `faulthandler`, parsed and written as one JSON object.
//!
//! `faulthandler` truncates: names after 500 letters, a stack after 100 frames, a process after 100 threads.

use crate::object::Json;
use crate::scoreboard::{Call, Running, WorkerView};

/// A worker, the requests of its threads, and its dump.
#[derive(Debug)]
pub struct WorkerStacks {
    /// The worker when the dump was requested.
    pub before: WorkerView,
    /// The worker when the dump had arrived, if it is still the same.
    pub after: Option<WorkerView>,
    /// The output of `faulthandler`, or why there is none.
    pub dump: Result<Vec<u8>, String>,
}

/// A thread in a dump.
#[derive(Debug, PartialEq, Eq)]
struct Thread {
    /// Python's thread identifier.
    ident: u64,
    /// The kernel TID, if a line of the dump gives it.
    native: Option<u64>,
    /// Innermost first.
    frames: Vec<Frame>,
    /// Whether frames were cut off.
    is_cut: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Frame {
    file: String,
    /// 0 if unknown.
    line: u64,
    function: String,
}

/// Appends all dumps. `now` is the monotonic clock in nanoseconds, as on the scoreboard.
pub fn write_stacks(out: &mut Vec<u8>, workers: &[WorkerStacks], now: u64) {
    let mut json = Json::default();
    json.open('{');
    json.text("name", b"lockgate");
    json.key("workers");
    json.open('[');
    for worker in workers {
        json.separate();
        json.open('{');
        json.number("slot", worker.before.slot as u64);
        json.number("pid", worker.before.pid);
        match &worker.dump {
            Ok(_) => json.null("problem"),
            Err(problem) => json.text("problem", problem.as_bytes()),
        }
        json.key("threads");
        json.open('[');
        for thread in worker.dump.iter().flat_map(|dump| threads(dump)) {
            let call = worker.call(thread.ident);
            // Without a request or Python frames, as in the thread that writes the dump, there is nothing to show.
            if call.is_some() || !thread.frames.is_empty() {
                json.thread(&thread, call, now);
            }
        }
        json.close(']');
        json.close('}');
    }
    json.close(']');
    json.close('}');
    json.finish(out);
}

impl WorkerStacks {
    /// The thread's line and the request that it ran: the stack belongs to a request only if it ran before and after
    /// the dump.
    fn call(&self, ident: u64) -> Option<(u64, Option<&Running>)> {
        let before = call_of(&self.before, ident)?;
        let after = (self.after.as_ref()).and_then(|after| call_of(after, ident));
        let request = match after {
            Some(after) => before.request.as_ref().filter(|_| after == before),
            None => None,
        };
        Some((before.thread, request))
    }
}

fn call_of(view: &WorkerView, ident: u64) -> Option<&Call> {
    view.calls
        .iter()
        .find(|call| call.ident == ident && ident != 0)
}

impl Json {
    fn thread(&mut self, thread: &Thread, call: Option<(u64, Option<&Running>)>, now: u64) {
        self.separate();
        self.open('{');
        self.number("ident", thread.ident);
        match call.map(|(native, _)| native).or(thread.native) {
            Some(native) => self.number("thread", native),
            None => self.null("thread"),
        }
        match call.and_then(|(_, request)| request) {
            None => self.null("request"),
            Some(request) => {
                self.key("request");
                self.request(request, now);
            }
        }
        self.key("frames");
        self.open('[');
        for frame in &thread.frames {
            self.separate();
            self.open('{');
            self.text("file", frame.file.as_bytes());
            self.number("line", frame.line);
            self.text("function", frame.function.as_bytes());
            self.close('}');
        }
        self.close(']');
        self.truth("is_cut", thread.is_cut);
        self.close('}');
    }

    /// The fields of a running request, as an object.
    pub(crate) fn request(&mut self, request: &Running, now: u64) {
        self.open('{');
        self.request_fields(request, now);
        self.close('}');
    }
}

/// Parses a dump. Unknown lines are skipped: newer Pythons write more.
fn threads(dump: &[u8]) -> Vec<Thread> {
    let text = String::from_utf8_lossy(dump);
    let natives: Vec<(u64, u64)> = text.lines().filter_map(native_id).collect();
    let mut threads: Vec<Thread> = Vec::new();
    for line in text.lines() {
        if let Some(ident) = header(line) {
            let native = natives.iter().find(|(of, _)| *of == ident);
            threads.push(Thread {
                ident,
                native: native.map(|&(_, native)| native),
                frames: Vec::new(),
                is_cut: false,
            });
            continue;
        }
        let Some(thread) = threads.last_mut() else {
            continue;
        };
        if let Some(frame) = frame(line) {
            thread.frames.push(frame);
        } else if line == "  ..." {
            thread.is_cut = true;
        }
    }
    threads
}

const NATIVE_ID_OF: &str = "Native id of 0x";

/// The line that a worker adds to a dump for a thread: its kernel TID.
pub fn native_id_line(ident: u64, native: u64) -> String {
    format!("{NATIVE_ID_OF}{ident:016x}: {native}\n")
}

fn native_id(line: &str) -> Option<(u64, u64)> {
    let (ident, native) = line.strip_prefix(NATIVE_ID_OF)?.split_once(": ")?;
    Some((u64::from_str_radix(ident, 16).ok()?, native.parse().ok()?))
}

/// `Thread 0x00007f3a2b1c0640 (most recent call first):`, `Current thread 0x… [name] (most recent call first):`.
fn header(line: &str) -> Option<u64> {
    let rest = line
        .strip_prefix("Current thread 0x")
        .or_else(|| line.strip_prefix("Thread 0x"))?;
    let (digits, _) = rest.split_once(' ')?;
    u64::from_str_radix(digits, 16).ok()
}

/// `  File "/srv/shop/views.py", line 42 in checkout`; an unknown file, line or name is `???`.
fn frame(line: &str) -> Option<Frame> {
    let rest = line.strip_prefix("  File ")?;
    // The application chooses the names: the last of these marks is the real one, unless a function name contains it.
    let at = rest.rfind(", line ")?;
    let (file, position) = (&rest[..at], &rest[at + ", line ".len()..]);
    let (number, function) = position.split_once(" in ")?;
    Some(Frame {
        file: file.trim_matches('"').to_owned(),
        line: number.parse().unwrap_or(0),
        function: function.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use serde_json::Value;

    use crate::scoreboard::{State, Totals};

    const DUMP: &str = "\
Current thread 0x00000000000000ff [looker] (most recent call first):
  <no Python frame>

Thread 0x00007f3a2b1c0640 [lockgate-worker] (most recent call first):
  File \"/srv/a, line 3/vi\\xe9ws.py\", line 42 in wait_for_stock
  File ???, line ??? in checkout
  Garbage-collecting
  File \"/srv/app.py\", line 7 in ???
  ...

Thread 0x0000000000000001 (most recent call first):
  File \"/usr/lib/python3.11/threading.py\", line 320 in wait
...
";

    fn view(calls: Vec<Call>) -> WorkerView {
        WorkerView {
            slot: 3,
            generation: 1,
            pid: 70,
            state: State::Serving,
            started: 0,
            connections: 0,
            requests: 0,
            threads: 0,
            waiting: 0,
            websockets: 0,
            held: 0,
            totals: Totals::default(),
            calls,
        }
    }

    fn call(ident: u64, began: Option<u64>) -> Call {
        Call {
            thread: 71,
            ident,
            request: began.map(|began| Running {
                began,
                method: b"GET".to_vec(),
                target: b"/checkout".to_vec(),
                is_cut: false,
                client: b"::1".to_vec(),
                request_id: Vec::new(),
                is_upgraded: false,
            }),
        }
    }

    fn reported(before: Vec<Call>, after: Option<Vec<Call>>, dump: Result<&str, &str>) -> Value {
        let mut out = Vec::new();
        let worker = WorkerStacks {
            before: view(before),
            after: after.map(view),
            dump: dump
                .map(|dump| dump.as_bytes().to_vec())
                .map_err(str::to_owned),
        };
        write_stacks(&mut out, &[worker], 5_000_000_000);
        let mut value: Value = serde_json::from_slice(&out).unwrap();
        value["workers"][0].take()
    }

    #[test]
    fn a_dump_of_any_python_is_read() {
        let threads = threads(DUMP.as_bytes());
        let frame = |file: &str, line, function: &str| Frame {
            file: file.to_owned(),
            line,
            function: function.to_owned(),
        };
        let idents: Vec<u64> = threads.iter().map(|thread| thread.ident).collect();
        assert_eq!(idents, [255, 0x7f3a_2b1c_0640, 1]);
        assert_eq!(threads[0].frames, []);
        assert_eq!(
            threads[1].frames,
            [
                frame("/srv/a, line 3/vi\\xe9ws.py", 42, "wait_for_stock"),
                frame("???", 0, "checkout"),
                frame("/srv/app.py", 7, "???"),
            ]
        );
        assert_eq!((threads[1].is_cut, threads[2].is_cut), (true, false));
        assert_eq!(threads[2].frames.len(), 1);
    }

    #[test]
    fn a_text_that_is_not_a_dump_has_no_threads() {
        for text in [
            "",
            "\n\n",
            "  File \"x\", line 1 in f",
            "Thread 0x (most",
            "\u{fffd}",
        ] {
            assert_eq!(threads(text.as_bytes()), [], "{text}");
        }
    }

    #[test]
    fn a_stack_has_the_request_that_ran_before_and_after() {
        let ident = 0x7f3a_2b1c_0640;
        let same = || vec![call(0, None), call(ident, Some(2_000_000_000))];
        for (after, is_known) in [
            (Some(same()), true),
            (Some(vec![call(ident, Some(3_000_000_000))]), false),
            (Some(vec![call(ident, None)]), false),
            (None, false),
        ] {
            let worker = reported(same(), after, Ok(DUMP));
            assert_eq!((&worker["slot"], &worker["pid"]), (&3.into(), &70.into()));
            let thread = &worker["threads"][0];
            assert_eq!(thread["thread"], 71);
            assert_eq!(thread["request"].is_object(), is_known, "{thread}");
            if is_known {
                assert_eq!(thread["request"]["target"], "/checkout");
                assert_eq!(thread["request"]["age"], 3.0);
            }
            assert_eq!(thread["frames"][0]["line"], 42);
            assert!(worker["threads"][1]["thread"].is_null());
            assert_eq!(worker["threads"].as_array().unwrap().len(), 2);
        }
    }

    #[test]
    fn a_thread_without_a_request_has_the_number_of_the_kernel_where_the_worker_knows_it() {
        let dump = format!("{}{DUMP}", native_id_line(1, 70));
        let worker = reported(Vec::new(), None, Ok(&dump));
        let numbers: Vec<&Value> = (worker["threads"].as_array().unwrap().iter())
            .map(|thread| &thread["thread"])
            .collect();
        assert_eq!(numbers, [&Value::Null, &70.into()]);
    }

    #[test]
    fn a_worker_without_an_answer_says_why() {
        let worker = reported(Vec::new(), None, Err("it was \"asleep\""));
        assert_eq!(worker["problem"], "it was \"asleep\"");
        assert_eq!(worker["threads"], Value::Array(Vec::new()));
    }
}
