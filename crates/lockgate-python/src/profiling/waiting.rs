//! What a thread waits for, as the kernel sees it: the system call that it is in, and that call's arguments.
//!
//! This holds for every library, also for one in C: a database driver waits in a call on its socket.

#[cfg(target_os = "linux")]
mod calls;
#[cfg(not(target_os = "linux"))]
#[path = "waiting/unknown_calls.rs"]
mod calls;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;

use lockgate_profile::Activity;
use lockgate_worker::TrackedFd;
use rustix::io::pread;

use self::calls::wait;
use super::descriptors::{Descriptor, Descriptors};
use super::memory::{Memory, Presence, int_at, word_at};

/// Most descriptors of a poll(2), a select(2) or an epoll_wait(2) that are looked at.
const MOST_POLLED: u64 = 64;
/// Most peers that are distinguished; further ones count as unknown.
const MOST_PEERS: usize = 200;

/// Most threads whose file is kept open.
const MOST_FILES: usize = 64;

/// See the module.
pub(super) struct Waits<M, D> {
    memory: M,
    descriptors: D,
    /// Where the GIL is: inside of `_PyRuntime`.
    gil: Range<u64>,
    peers: HashSet<String>,
    system_calls: SystemCallFiles,
}

/// The files that say which system call a thread is in. Opening one takes longer than reading it. Children that the
/// application forks close them.
#[derive(Default)]
struct SystemCallFiles {
    open: HashMap<u64, TrackedFd>,
}

impl SystemCallFiles {
    fn read(&mut self, tid: u64) -> io::Result<String> {
        if let Some(file) = self.open.get(&tid) {
            // It fails when that thread has ended; another one may have its TID now.
            match content(file) {
                Ok(text) => return Ok(text),
                Err(_) => self.open.remove(&tid),
            };
        }
        let file = File::open(format!("/proc/self/task/{tid}/syscall"))?;
        let file = TrackedFd::new(OwnedFd::from(file));
        let text = content(&file)?;
        if self.open.len() >= MOST_FILES {
            self.open.clear();
        }
        self.open.insert(tid, file);
        Ok(text)
    }
}

/// What the file says now: the kernel writes it when it is read from its beginning.
fn content(file: &TrackedFd) -> io::Result<String> {
    // A number and eight addresses.
    let mut bytes = [0; 256];
    let length = pread(file, &mut bytes, 0)?;
    let text = bytes.get(..length).unwrap_or_default();
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// A system call that a thread is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SystemCall {
    number: i64,
    arguments: [u64; 6],
}

/// What `/proc/self/task/TID/syscall` says (proc(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Call(SystemCall),
    /// It waits outside of a call: for a page of memory.
    NoCall,
    Unknown,
}

/// What a call waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    Futex(u64),
    Descriptor(u64),
    /// Of poll(2): the address and the number of its descriptors.
    Poll(u64, u64),
    /// Of select(2): how many, and the addresses of the sets for reading and writing.
    Select(u64, u64, u64),
    /// Of epoll_wait(2): its descriptor.
    Epoll(u64),
    Sleep,
    Child,
    Disk,
    Other,
}

impl<M: Memory, D: Descriptors> Waits<M, D> {
    pub(super) fn new(memory: M, descriptors: D, gil: Range<u64>) -> Self {
        Self {
            memory,
            descriptors,
            gil,
            peers: HashSet::new(),
            system_calls: SystemCallFiles::default(),
        }
    }

    /// Closes its files.
    pub(super) fn end(&mut self) {
        self.system_calls = SystemCallFiles::default();
    }

    /// What a thread of this process does.
    pub(super) fn of(&mut self, tid: u64, presence: Presence) -> Activity {
        match self.system_calls.read(tid) {
            Ok(text) => match state(&text) {
                State::Running => Activity::Running,
                State::Call(call) => self.in_call(call, tid),
                State::NoCall | State::Unknown => by_letter(tid),
            },
            // The kernel keeps it from a process that has changed its user.
            Err(_) => by_channel(tid, presence),
        }
    }

    fn in_call(&mut self, call: SystemCall, tid: u64) -> Activity {
        match wait(call) {
            Wait::Futex(address) if self.gil.contains(&address) => Activity::Gil,
            Wait::Futex(_) => Activity::Lock,
            Wait::Sleep => Activity::Sleep,
            Wait::Child => Activity::Child,
            Wait::Disk => Activity::Disk,
            Wait::Other => by_letter(tid),
            Wait::Descriptor(number) => match self.descriptor(number) {
                Descriptor::File => Activity::Disk,
                found => self.among([found]).unwrap_or(Activity::Waiting),
            },
            Wait::Poll(address, count) => {
                let polled = self.polled(address, count);
                let found: Vec<Descriptor> =
                    (polled.into_iter().map(|number| self.descriptor(number))).collect();
                self.among(found).unwrap_or(match count {
                    0 => Activity::Sleep,
                    _ => Activity::Waiting,
                })
            }
            Wait::Epoll(number) => {
                let number = i32::try_from(number).ok();
                match number.and_then(|number| self.descriptors.members(number)) {
                    None => Activity::Waiting,
                    Some(members) if members.is_empty() => Activity::Sleep,
                    Some(members) => {
                        let members = members.into_iter().take(MOST_POLLED as usize);
                        let found: Vec<Descriptor> = members
                            .map(|number| self.descriptor(number))
                            // asyncio has a pair of sockets without a name, to wake itself.
                            .filter(|found| *found != Descriptor::Socket(String::new()))
                            .collect();
                        self.among(found).unwrap_or(Activity::Waiting)
                    }
                }
            }
            Wait::Select(count, read, written) => {
                let selected = self.selected(count, [read, written]);
                let is_sleep = selected.is_empty();
                let found: Vec<Descriptor> =
                    (selected.into_iter().map(|number| self.descriptor(number))).collect();
                self.among(found).unwrap_or(match is_sleep {
                    true => Activity::Sleep,
                    false => Activity::Waiting,
                })
            }
        }
    }

    fn descriptor(&self, number: u64) -> Descriptor {
        i32::try_from(number).map_or(Descriptor::Other, |number| self.descriptors.kind(number))
    }

    /// The network, if one of the descriptors is a socket: its peer, if it has one.
    fn among(&mut self, found: impl IntoIterator<Item = Descriptor>) -> Option<Activity> {
        let mut is_network = false;
        for descriptor in found {
            if let Descriptor::Socket(peer) = descriptor {
                is_network = true;
                if !peer.is_empty() && (self.peers.contains(&peer) || self.peers.len() < MOST_PEERS)
                {
                    self.peers.insert(peer.clone());
                    return Some(Activity::Network(peer));
                }
            }
        }
        is_network.then(|| Activity::Network(String::new()))
    }

    /// The descriptors of a `struct pollfd` array.
    fn polled(&self, address: u64, count: u64) -> Vec<u64> {
        // At most 512 bytes.
        let mut bytes = vec![0; (count.min(MOST_POLLED) * 8) as usize];
        match self.memory.read(address, &mut bytes) {
            true => (bytes.chunks_exact(8))
                .filter_map(|entry| u64::try_from(int_at(entry, 0)).ok())
                .collect(),
            false => Vec::new(),
        }
    }

    /// The descriptors of `fd_set`s.
    fn selected(&self, count: u64, sets: [u64; 2]) -> Vec<u64> {
        let count = count.min(1024);
        let mut found = Vec::new();
        for address in sets.into_iter().filter(|address| *address != 0) {
            let mut bytes = vec![0; (count.div_ceil(64) * 8) as usize];
            if !self.memory.read(address, &mut bytes) {
                continue;
            }
            let is_in = |number: &u64| {
                let word = word_at(&bytes, (number / 64 * 8) as usize);
                word >> (number % 64) & 1 == 1
            };
            found.extend((0..count).filter(is_in).take(MOST_POLLED as usize));
        }
        found
    }
}

fn state(text: &str) -> State {
    let text = text.trim_end();
    if text == "running" {
        return State::Running;
    }
    let mut words = text.split(' ');
    let number: Option<i64> = words.next().and_then(|word| word.parse().ok());
    let Some(number) = number else {
        return State::Unknown;
    };
    if number < 0 {
        return State::NoCall;
    }
    let mut arguments = [0; 6];
    for argument in &mut arguments {
        let word = words.next().and_then(|word| word.strip_prefix("0x"));
        let Some(value) = word.and_then(|word| u64::from_str_radix(word, 16).ok()) else {
            return State::Unknown;
        };
        *argument = value;
    }
    State::Call(SystemCall { number, arguments })
}

/// By the letter of its state in `/proc/self/task/TID/stat`.
fn by_letter(tid: u64) -> Activity {
    let text = fs::read_to_string(format!("/proc/self/task/{tid}/stat"));
    text.ok()
        .and_then(|text| letter(&text))
        .map_or(Activity::Waiting, |letter| match letter {
            'R' => Activity::Running,
            'D' => Activity::Disk,
            _ => Activity::Waiting,
        })
}

/// The state follows the name, which may have parentheses itself.
fn letter(stat: &str) -> Option<char> {
    stat.rsplit_once(") ")?.1.chars().next()
}

/// By the function of the kernel that it waits in: less is known that way.
fn by_channel(tid: u64, presence: Presence) -> Activity {
    let by_letter = by_letter(tid);
    if by_letter != Activity::Waiting {
        return by_letter;
    }
    let channel = fs::read_to_string(format!("/proc/self/task/{tid}/wchan"));
    channel.map_or(Activity::Waiting, |channel| {
        channel_activity(&channel, presence)
    })
}

fn channel_activity(channel: &str, presence: Presence) -> Activity {
    const NETWORK: [&str; 7] = [
        "wait_woken",
        "sk_wait_data",
        "sk_stream_wait_memory",
        "inet_csk_accept",
        "inet_wait_for_connect",
        "unix_stream_read_generic",
        "unix_stream_data_wait",
    ];
    match channel {
        "hrtimer_nanosleep" | "do_nanosleep" => Activity::Sleep,
        "do_wait" | "kernel_waitid" => Activity::Child,
        // While it waits for the GIL, Python wakes a thread each switch interval (5 ms); a lock wakes it once.
        futex if futex.starts_with("futex_") => match presence {
            Presence::New => Activity::Waiting,
            Presence::Back => Activity::Gil,
            Presence::Unmoved => Activity::Lock,
        },
        channel if NETWORK.contains(&channel) => Activity::Network(String::new()),
        _ => Activity::Waiting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profiling::memory::Part;
    use lockgate_worker::take_inherited_descriptors;
    use std::os::fd::{AsFd, AsRawFd};

    /// Memory that has `struct pollfd`s of 3, 4 and -1 at 0x100, and the sets {3} and {64} at 0x200 and 0x300.
    struct Recorded;

    impl Memory for Recorded {
        fn read_parts(&self, parts: &mut [Part<'_>]) {
            let polled = [3u64, 4, 0xffff_ffff];
            let sets = |word| [word, 0];
            for part in parts {
                let words: &[u64] = match part.address {
                    0x100 => &polled,
                    0x200 => &sets(1 << 3),
                    0x300 => &[0, 1],
                    _ => continue,
                };
                let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
                if let Some(bytes) = bytes.get(..part.bytes.len()) {
                    part.bytes.copy_from_slice(bytes);
                    part.is_read = true;
                }
            }
        }
    }

    impl Descriptors for Recorded {
        fn kind(&self, number: i32) -> Descriptor {
            match number {
                3 => Descriptor::Other,
                4 | 64 => Descriptor::Socket("10.0.0.5:5432".to_owned()),
                5 => Descriptor::Socket(String::new()),
                6 => Descriptor::File,
                _ => Descriptor::Other,
            }
        }

        /// Epoll descriptors from 10 to 12.
        fn members(&self, number: i32) -> Option<Vec<u64>> {
            match number {
                10 => Some(vec![]),
                11 => Some(vec![3, 5, 4]),
                12 => Some(vec![5, 3]),
                _ => None,
            }
        }
    }

    #[test]
    fn a_system_call_says_what_is_waited_for() {
        let database = || Activity::Network("10.0.0.5:5432".to_owned());
        let unknown = || Activity::Network(String::new());
        for (number, arguments, expected) in [
            (libc::SYS_futex, [0x5010, 0x189, 0], Activity::Gil),
            (libc::SYS_futex, [0x6000, 0x189, 0], Activity::Lock),
            (libc::SYS_recvfrom, [4, 0, 0], database()),
            (libc::SYS_read, [5, 0, 0], unknown()),
            (libc::SYS_read, [6, 0, 0], Activity::Disk),
            (libc::SYS_read, [3, 0, 0], Activity::Waiting),
            (libc::SYS_read, [u64::MAX, 0, 0], Activity::Waiting),
            (libc::SYS_ppoll, [0x100, 3, 0], database()),
            (libc::SYS_ppoll, [0x100, 1, 0], Activity::Waiting),
            (libc::SYS_ppoll, [0, 0, 0], Activity::Sleep),
            (libc::SYS_ppoll, [0x900, 3, 0], Activity::Waiting),
            (libc::SYS_pselect6, [65, 0x300, 0], database()),
            (libc::SYS_pselect6, [65, 0x200, 0x300], database()),
            (libc::SYS_pselect6, [65, 0x200, 0], Activity::Waiting),
            (libc::SYS_pselect6, [0, 0, 0], Activity::Sleep),
            (libc::SYS_epoll_pwait, [10, 0x700, 8], Activity::Sleep),
            (libc::SYS_epoll_pwait, [11, 0x700, 8], database()),
            (libc::SYS_epoll_pwait2, [11, 0x700, 8], database()),
            (libc::SYS_epoll_pwait, [12, 0x700, 8], Activity::Waiting),
            (libc::SYS_epoll_pwait, [13, 0x700, 8], Activity::Waiting),
            (libc::SYS_clock_nanosleep, [1, 0, 0], Activity::Sleep),
            (libc::SYS_wait4, [0, 0, 0], Activity::Child),
            (libc::SYS_fsync, [6, 0, 0], Activity::Disk),
        ] {
            let [first, second, third] = arguments;
            let text =
                format!("{number} {first:#x} {second:#x} {third:#x} 0x0 0x0 0x0 0x7f 0x7f\n");
            let State::Call(call) = state(&text) else {
                panic!("{text}");
            };
            let mut waits = Waits::new(Recorded, Recorded, 0x5000..0x6000);
            assert_eq!(waits.in_call(call, 0), expected, "{text}");
        }
    }

    #[test]
    fn children_of_the_application_close_the_files_of_system_calls() {
        let own = rustix::thread::gettid().as_raw_nonzero().get();
        let tid = u64::try_from(own).unwrap();
        let mut files = SystemCallFiles::default();
        if files.read(tid).is_err() {
            // The kernel has no such files (CONFIG_HAVE_ARCH_TRACEHOOK), or keeps them from this user.
            return;
        }
        let number = files.open[&tid].as_fd().as_raw_fd();
        assert!(take_inherited_descriptors().contains(&number));
    }

    #[test]
    fn the_state_of_a_thread_is_a_word_or_a_call() {
        for (text, expected) in [
            ("running\n", State::Running),
            ("-1 0x7ffd 0x55aa\n", State::NoCall),
            ("", State::Unknown),
            ("202 0x1 0x2\n", State::Unknown),
            ("202 1 2 3 4 5 6\n", State::Unknown),
        ] {
            assert_eq!(state(text), expected, "{text}");
        }
    }

    #[test]
    fn a_name_with_parentheses_hides_no_state() {
        for (stat, expected) in [
            ("7 (python) D 1 7", Some('D')),
            ("7 (a) R (b)) S 1 7", Some('S')),
            ("7 (python", None),
            ("", None),
        ] {
            assert_eq!(letter(stat), expected, "{stat}");
        }
    }

    #[test]
    fn channels_of_the_kernel_say_less() {
        for (channel, presence, expected) in [
            ("hrtimer_nanosleep", Presence::Back, Activity::Sleep),
            ("do_wait", Presence::New, Activity::Child),
            (
                "wait_woken",
                Presence::New,
                Activity::Network(String::new()),
            ),
            ("futex_wait_queue", Presence::New, Activity::Waiting),
            ("futex_wait_queue", Presence::Unmoved, Activity::Lock),
            ("futex_do_wait", Presence::Back, Activity::Gil),
            ("0", Presence::Unmoved, Activity::Waiting),
        ] {
            assert_eq!(channel_activity(channel, presence), expected, "{channel}");
        }
    }

    #[test]
    fn only_some_peers_are_distinguished() {
        let mut waits = Waits::new(Recorded, Recorded, 0..0);
        let mut peer = |number: usize| {
            let peer = format!("10.0.0.1:{number}");
            waits.among([Descriptor::Socket(peer)])
        };
        for number in 0..MOST_PEERS {
            assert_eq!(
                peer(number),
                Some(Activity::Network(format!("10.0.0.1:{number}")))
            );
        }
        assert_eq!(peer(MOST_PEERS), Some(Activity::Network(String::new())));
        assert_eq!(peer(7), Some(Activity::Network("10.0.0.1:7".to_owned())));
    }
}
