//! The descendants of a worker that is killed: copies of the worker are killed with it, other programs are only logged.
//! They are found in `/proc`; without `/proc` there are none.
//!
//! A forked child that has not called exec, and a process started by `multiprocessing`, wait for work from the worker
//! and would never exit. A program that the application has started may be meant to continue, and so may a copy that
//! has called setsid.

use std::fs;

use crate::processes::kill::kill;

/// Process flag: forked without a later exec (`PF_FORKNOEXEC`, linux/sched.h).
const FORKED_WITHOUT_EXEC: u64 = 0x40;

/// A process, as `/proc/PID/stat` describes it (proc_pid_stat(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    pid: u32,
    parent: u32,
    session: u32,
    is_copy: bool,
    is_dead: bool,
    /// In clock ticks since boot. Together with the pid it is unique.
    started: u64,
    name: String,
}

/// The relation of an executed program to the worker that started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    /// A process of `multiprocessing` that takes work from the worker.
    TakesWork,
    /// The resource tracker of `multiprocessing`: it cleans up and exits as soon as its last user has exited.
    ExitsByItself,
    Other,
}

/// The descendants of a worker at one moment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Descendants {
    copies: Vec<Process>,
    others: Vec<Process>,
}

impl Descendants {
    /// The descendants of this process.
    pub(crate) fn of(pid: u32) -> Self {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Self::sort(
            &pids.filter_map(read_process).collect::<Vec<_>>(),
            pid,
            read_program,
        )
    }

    fn sort(processes: &[Process], root: u32, program: impl Fn(u32) -> Program) -> Self {
        let mut found = Self::default();
        let Some(root) = processes.iter().find(|process| process.pid == root) else {
            return found;
        };
        let mut parents = vec![root.pid];
        while let Some(parent) = parents.pop() {
            for child in processes.iter().filter(|child| child.parent == parent) {
                if child.is_dead || child.pid == root.pid {
                    continue;
                }
                let is_copy = match child.is_copy {
                    true => true,
                    false => match program(child.pid) {
                        Program::ExitsByItself => continue,
                        Program::TakesWork => true,
                        Program::Other => false,
                    },
                };
                if is_copy && child.session == root.session {
                    parents.push(child.pid);
                    found.copies.push(child.clone());
                } else {
                    found.others.push(child.clone());
                }
            }
        }
        found
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.copies.is_empty() && self.others.is_empty()
    }

    /// Kills the copies; returns what was killed and what continues to run, for the log.
    pub(crate) fn kill(mut self) -> Option<String> {
        // The pid may have been reused meanwhile.
        let is_running = |process: &Process| {
            read_process(process.pid)
                .is_some_and(|now| now.started == process.started && !now.is_dead)
        };
        self.copies.retain(is_running);
        self.others.retain(is_running);
        self.copies.iter().for_each(|copy| kill(copy.pid));
        self.summary()
    }

    fn summary(&self) -> Option<String> {
        let list = |processes: &[Process]| {
            let names = processes
                .iter()
                .map(|process| format!("{} (pid {})", process.name.escape_debug(), process.pid));
            names.collect::<Vec<_>>().join(", ")
        };
        let parts = [
            ("child processes killed with it", &self.copies),
            ("child processes left running", &self.others),
        ];
        let parts: Vec<String> = parts
            .into_iter()
            .filter(|(_, processes)| !processes.is_empty())
            .map(|(what, processes)| format!("{what}: {}", list(processes)))
            .collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

fn read_process(pid: u32) -> Option<Process> {
    // A process name need not be UTF-8.
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse(pid, &String::from_utf8_lossy(&stat))
}

fn parse(pid: u32, stat: &str) -> Option<Process> {
    // The name may contain spaces and parentheses; the fields after it contain none.
    let (before, after) = stat.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Process {
        pid,
        parent: number(1)?.try_into().ok()?,
        session: number(3)?.try_into().ok()?,
        is_copy: number(6)? & FORKED_WITHOUT_EXEC != 0,
        is_dead: matches!(fields.first(), Some(&("Z" | "X"))),
        started: number(19)?,
        name: name.to_owned(),
    })
}

fn read_program(pid: u32) -> Program {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    classify(&command)
}

/// `multiprocessing` starts its processes as `python -c 'from multiprocessing.spawn import ...'`.
fn classify(command: &[u8]) -> Program {
    let starts = |module: &str| {
        let code = format!("from multiprocessing.{module} import ");
        let mut arguments = command.split(|byte| *byte == 0);
        arguments.any(|argument| argument.starts_with(code.as_bytes()))
    };
    if starts("spawn") || starts("forkserver") {
        Program::TakesWork
    } else if starts("resource_tracker") {
        Program::ExitsByItself
    } else {
        Program::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, parent: u32, is_copy: bool) -> Process {
        Process {
            pid,
            parent,
            session: 1,
            is_copy,
            is_dead: false,
            started: 5,
            name: format!("n{pid}"),
        }
    }

    #[test]
    fn copies_and_processes_of_multiprocessing_are_killed_and_programs_are_not() {
        let mut all = vec![
            process(10, 1, true),
            process(11, 10, true),
            process(12, 11, true),
            process(13, 10, false),
            process(14, 13, true),
            process(15, 10, false),
            process(16, 15, true),
            process(17, 10, false),
            process(18, 10, true),
            process(19, 10, true),
            process(20, 1, true),
        ];
        all[8].session = 18;
        all[9].is_dead = true;
        let programs = |pid| match pid {
            15 => Program::TakesWork,
            17 => Program::ExitsByItself,
            _ => Program::Other,
        };
        let found = Descendants::sort(&all, 10, programs);
        let pids = |processes: &[Process]| {
            let mut pids: Vec<u32> = processes.iter().map(|process| process.pid).collect();
            pids.sort_unstable();
            pids
        };
        assert_eq!(pids(&found.copies), [11, 12, 15, 16]);
        assert_eq!(pids(&found.others), [13, 18]);
        assert_eq!(
            Descendants::sort(&all, 99, programs),
            Descendants::default()
        );
    }

    #[test]
    fn the_summary_names_killed_and_running_processes() {
        assert_eq!(Descendants::default().summary(), None);
        let found = Descendants {
            copies: vec![process(11, 10, true), process(12, 10, true)],
            others: vec![process(13, 10, false)],
        };
        assert_eq!(
            found.summary().unwrap(),
            "child processes killed with it: n11 (pid 11), n12 (pid 12); child processes left running: n13 (pid 13)"
        );
    }

    #[test]
    fn a_process_is_parsed_whatever_its_name() {
        let stat = "12 (a) b (c) S 7 12 3 0 -1 4194368 1 2 3 4 5 6 7 8 20 0 1 0 777 9 9";
        let expected = Process {
            pid: 12,
            parent: 7,
            session: 3,
            is_copy: true,
            is_dead: false,
            started: 777,
            name: "a) b (c".to_owned(),
        };
        assert_eq!(parse(12, stat), Some(expected));
        for broken in ["", "12 (a) S", "12 (a) S x 12 3 0 -1 0"] {
            assert_eq!(parse(12, broken), None, "{broken}");
        }
    }

    #[test]
    fn processes_of_multiprocessing_are_recognized_by_their_command() {
        let cases: [(&[u8], Program); 4] = [
            (
                b"/usr/bin/python3\0-c\0from multiprocessing.spawn import spawn_main; spawn_main()\0--multiprocessing-fork\0",
                Program::TakesWork,
            ),
            (
                b"python\0-c\0from multiprocessing.forkserver import main; main(3)\x00",
                Program::TakesWork,
            ),
            (
                b"python\0-c\0from multiprocessing.resource_tracker import main;main(4)\0",
                Program::ExitsByItself,
            ),
            (b"sleep\x00600\x00", Program::Other),
        ];
        for (command, expected) in cases {
            assert_eq!(classify(command), expected);
        }
    }
}
