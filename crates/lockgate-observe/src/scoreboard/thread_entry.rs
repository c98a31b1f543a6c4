//! A thread's entry: the request that it runs. Written by that thread only, read by any process.
//!
//! Invariant: [`ThreadEntry::read`] returns values of one and the same request (a seqlock). The writer makes the
//! entry's version odd, writes, and makes it even again; a reader discards its result if the version was odd, or has
//! changed while it read. (The fences are those of H.-J. Boehm, "Can seqlocks get along with programming language
//! memory models?", 2012.)

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Words of an entry: five cache lines.
pub(super) const ENTRY: usize = 40;
/// Lines of a worker: as many as `threads = auto` can start, and some spare. Further threads are not shown.
pub(super) const ENTRIES: usize = 160;

// The words of an entry.
const VERSION: usize = 0;
const STATE: usize = 1;
const BEGAN: usize = 2;
const LENGTHS: usize = 3;
const METHOD: usize = 4;
const TARGET: usize = 6;
const CLIENT: usize = 22;
const THREAD: usize = 28;
const IDENT: usize = 29;
const CALLS: usize = 30;
const WAITED: usize = 31;
const REQUEST_ID: usize = 32;

// States: no thread has the entry; its thread is idle; its thread runs a request; the call of that request has taken its
// connection over.
const FREE: u64 = 0;
const IDLE: u64 = 1;
const RUNNING: u64 = 2;
const UPGRADED: u64 = 3;

/// Bytes of each text that fit; the rest is cut off.
const METHOD_BYTES: usize = (TARGET - METHOD) * 8;
const TARGET_BYTES: usize = (CLIENT - TARGET) * 8;
const CLIENT_BYTES: usize = (THREAD - CLIENT) * 8;
const REQUEST_ID_BYTES: usize = (ENTRY - REQUEST_ID) * 8;

/// The bits of the time at which a request was complete that tell it from others of its thread.
const NUMBER: u64 = (1 << 10) - 1;

/// How often a reader tries: an entry that changes all the time has short requests, which are of no interest.
const ATTEMPTS: u32 = 8;

/// The entry of one thread. A copy refers to the same words.
#[derive(Debug, Clone, Copy)]
pub struct ThreadEntry {
    words: &'static [AtomicU64; ENTRY],
}

/// A thread and the request that it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The kernel TID.
    pub thread: u64,
    /// The thread's identifier in the application's language; 0 if there is none.
    pub ident: u64,
    /// The request that it runs.
    pub request: Option<Running>,
}

/// A request that is running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// When it was complete: nanoseconds of the monotonic clock, to a microsecond. The request before it on its thread has
    /// another number, and so have 1,022 before that one, though they were complete at the same time.
    pub began: u64,
    /// The beginning of its method.
    pub method: Vec<u8>,
    /// The beginning of its target.
    pub target: Vec<u8>,
    /// Whether the target was cut off.
    pub is_cut: bool,
    /// The client; empty on a unix socket.
    pub client: Vec<u8>,
    /// The beginning of its id; empty if requests have none.
    pub request_id: Vec<u8>,
    /// Whether its call has taken the connection over, as for a WebSocket.
    pub is_upgraded: bool,
}

impl Running {
    /// Removes everything after the path from the target. A fragment is no part of a target (RFC 9112 §3.2), and is
    /// removed too where a parser has let it pass.
    pub(super) fn remove_query(&mut self) {
        let end = (self.target.iter()).position(|byte| matches!(byte, b'?' | b'#'));
        if let Some(end) = end {
            self.target.truncate(end);
            self.is_cut = false;
        }
    }
}

impl Call {
    /// Whether its request has taken the connection over.
    pub fn is_upgraded(&self) -> bool {
        self.request
            .as_ref()
            .is_some_and(|request| request.is_upgraded)
    }
}

impl ThreadEntry {
    pub(super) fn over(words: &'static [AtomicU64; ENTRY]) -> Self {
        Self { words }
    }

    /// Claims the entry; returns whether it was free.
    pub(super) fn claim(self, thread: u64, ident: u64) -> bool {
        let is_free = self.words[STATE]
            .compare_exchange(FREE, IDLE, Ordering::Acquire, Ordering::Relaxed)
            .is_ok();
        if is_free {
            self.words[THREAD].store(thread, Ordering::Relaxed);
            self.words[IDENT].store(ident, Ordering::Relaxed);
        }
        is_free
    }

    /// The thread ends, or has ended.
    pub fn release(self) {
        self.words[STATE].store(FREE, Ordering::Release);
    }

    /// The thread runs this request from now on. `client` is omitted if it is the same as the last time; the id is
    /// empty if requests have none.
    #[inline]
    pub fn begin(
        self,
        began: u64,
        method: &[u8],
        target: &[u8],
        client: Option<&[u8]>,
        request_id: &[u8],
    ) {
        let version = self.word(VERSION);
        self.words[VERSION].store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        // All requests of one turn of the event loop were complete at the same time.
        let number = version / 2;
        let began = began & !NUMBER | number & NUMBER;
        self.words[BEGAN].store(began, Ordering::Relaxed);
        let before = self.word(LENGTHS) >> 48;
        let client = match client {
            None => before,
            Some(client) => {
                store(&self.words[CLIENT..THREAD], client);
                client.len().min(CLIENT_BYTES) as u64
            }
        };
        let method_length = method.len().min(METHOD_BYTES) as u64;
        // One more than fits marks a target that was cut off.
        let target_length = target.len().min(TARGET_BYTES + 1) as u64;
        let id_length = request_id.len().min(REQUEST_ID_BYTES) as u64;
        let lengths = client << 48 | id_length << 32 | target_length << 16 | method_length;
        self.words[LENGTHS].store(lengths, Ordering::Relaxed);
        store(&self.words[METHOD..TARGET], method);
        store(&self.words[TARGET..CLIENT], target);
        store(&self.words[REQUEST_ID..], request_id);
        self.words[STATE].store(RUNNING, Ordering::Relaxed);
        self.words[VERSION].store(version.wrapping_add(2), Ordering::Release);
    }

    /// The call has taken its connection over.
    pub(super) fn upgrade(self) {
        self.words[STATE].store(UPGRADED, Ordering::Relaxed);
    }

    /// Whether its thread runs a call that has taken its connection over.
    pub(super) fn is_upgraded(self) -> bool {
        self.word(STATE) == UPGRADED
    }

    /// The thread has taken a request that waited for `waited` nanoseconds. These counts continue across the threads of
    /// an entry.
    #[inline]
    pub(super) fn record_taken(self, waited: u64) {
        for (index, by) in [(CALLS, 1), (WAITED, waited)] {
            let sum = self.word(index).wrapping_add(by);
            self.words[index].store(sum, Ordering::Relaxed);
        }
    }

    /// Whether its thread runs a request. Reads one word, for a reader that visits all entries often.
    pub(super) fn is_busy(self) -> bool {
        matches!(self.word(STATE), RUNNING | UPGRADED)
    }

    /// How many requests its threads have taken, and the sum of their queue times in nanoseconds.
    pub(super) fn taken(self) -> (u64, u64) {
        (self.word(CALLS), self.word(WAITED))
    }

    /// The request is over.
    #[inline]
    pub fn end(self) {
        self.words[STATE].store(IDLE, Ordering::Relaxed);
    }

    /// The kernel TID of its thread, and when the request that it runs was complete; 0: it runs none. `None` if no thread
    /// has the entry, or if it changes at this moment. Much quicker than [`ThreadEntry::read`].
    pub fn current(self) -> Option<(u64, u64)> {
        let version = self.words[VERSION].load(Ordering::Acquire);
        let (state, thread, began) = (self.word(STATE), self.word(THREAD), self.word(BEGAN));
        fence(Ordering::Acquire);
        let is_whole = version.is_multiple_of(2) && self.word(VERSION) == version;
        match state {
            FREE => None,
            IDLE => is_whole.then_some((thread, 0)),
            _ => is_whole.then_some((thread, began)),
        }
    }

    /// The thread and its request; `None` if no thread has the entry, or if it changes all the time.
    pub fn read(self) -> Option<Call> {
        (0..ATTEMPTS).find_map(|_| self.try_read()).flatten()
    }

    fn try_read(self) -> Option<Option<Call>> {
        let version = self.words[VERSION].load(Ordering::Acquire);
        let words: [u64; ENTRY] = std::array::from_fn(|index| self.word(index));
        fence(Ordering::Acquire);
        let is_whole = version.is_multiple_of(2) && self.word(VERSION) == version;
        is_whole.then(|| match words[STATE] {
            FREE => None,
            state => Some(Call {
                thread: words[THREAD],
                ident: words[IDENT],
                request: (state != IDLE).then(|| running(&words)),
            }),
        })
    }

    #[inline]
    fn word(self, index: usize) -> u64 {
        self.words[index].load(Ordering::Relaxed)
    }
}

fn running(words: &[u64; ENTRY]) -> Running {
    let lengths = words[LENGTHS];
    let text = |from: usize, to: usize, length: u64| {
        let mut bytes: Vec<u8> = words[from..to]
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        bytes.truncate(usize::try_from(length & 0xffff).unwrap_or(usize::MAX));
        bytes
    };
    let target_length = lengths >> 16 & 0xffff;
    Running {
        began: words[BEGAN],
        method: text(METHOD, TARGET, lengths),
        target: text(TARGET, CLIENT, target_length),
        is_cut: target_length > TARGET_BYTES as u64,
        client: text(CLIENT, THREAD, lengths >> 48),
        request_id: text(REQUEST_ID, ENTRY, lengths >> 32),
        is_upgraded: words[STATE] == UPGRADED,
    }
}

/// Writes as much of a text as fits. The words after its end are left unchanged.
#[inline]
fn store(words: &[AtomicU64], text: &[u8]) {
    let (whole, rest) = text.as_chunks::<8>();
    let mut words = words.iter();
    for (bytes, word) in whole.iter().zip(&mut words) {
        word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
    }
    if let (false, Some(word)) = (rest.is_empty(), words.next()) {
        word.store(last_word(text, rest), Ordering::Relaxed);
    }
}

/// The last bytes of a text, `rest`, as a word: read in pieces that overlap, without a loop or a call of memcpy.
#[inline]
fn last_word(text: &[u8], rest: &[u8]) -> u64 {
    let missing = 8 * (8 - rest.len());
    if let Some(last) = text.last_chunk::<8>() {
        return u64::from_le_bytes(*last) >> missing;
    }
    if let (Some(first), Some(last)) = (rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
        let high = u64::from(u32::from_le_bytes(*last)) << (32 - missing);
        return high | u64::from(u32::from_le_bytes(*first));
    }
    let byte = |index: usize| u64::from(rest[index]) << (8 * index);
    byte(0) | byte(rest.len() / 2) | byte(rest.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    fn entry() -> ThreadEntry {
        let words: Vec<AtomicU64> = (0..ENTRY).map(|_| AtomicU64::new(0)).collect();
        ThreadEntry::over(Vec::leak(words).first_chunk().unwrap())
    }

    #[test]
    fn an_entry_has_what_its_thread_runs() {
        let entry = entry();
        assert_eq!((entry.read(), entry.current()), (None, None), "not claimed");
        assert!(entry.claim(70, 7));
        assert!(!entry.claim(71, 0), "it is taken");
        let idle = Call {
            thread: 70,
            ident: 7,
            request: None,
        };
        assert_eq!(entry.read(), Some(idle.clone()));
        let began = 5 << 10;
        entry.begin(began, b"GET", b"/", Some(b"127.0.0.1"), b"");
        let request = entry.read().unwrap().request.unwrap();
        assert_eq!((request.began, &request.method[..]), (began, &b"GET"[..]));
        assert_eq!(entry.current(), Some((70, began)));
        assert_eq!((&request.target[..], request.is_cut), (&b"/"[..], false));
        assert_eq!(
            (&request.client[..], &request.request_id[..]),
            (&b"127.0.0.1"[..], &b""[..])
        );
        entry.end();
        assert!(!entry.is_busy());
        assert_eq!(entry.read(), Some(idle));
        assert_eq!(entry.current(), Some((70, 0)));
        entry.begin(
            began,
            b"DELETE",
            b"/a/longer/one?and=more",
            None,
            b"4bf92f35",
        );
        let request = entry.read().unwrap().request.unwrap();
        assert_eq!(
            request.began,
            began + 1,
            "of the same turn, and another one"
        );
        assert_eq!(request.request_id, b"4bf92f35");
        assert_eq!(request.target, b"/a/longer/one?and=more");
        assert_eq!(request.client, b"127.0.0.1", "as before");
        assert!(!entry.read().unwrap().is_upgraded() && entry.is_busy());
        entry.upgrade();
        assert!(entry.is_busy() && entry.is_upgraded() && entry.read().unwrap().is_upgraded());
        entry.begin(7, b"GET", b"/", None, b"");
        assert!(!entry.is_upgraded());
        entry.release();
        assert_eq!(entry.read(), None);
        assert!(entry.claim(71, 0));
    }

    #[test]
    fn a_query_is_removed_and_with_it_what_was_cut_off() {
        let long = "x".repeat(TARGET_BYTES);
        let (long_path, long_query) = (format!("/{long}"), format!("/a?{long}"));
        for (target, shown, is_cut) in [
            ("/a/b?token=1", "/a/b", false),
            ("/?", "/", false),
            ("/a??b?c", "/a", false),
            ("/a;id=1?b", "/a;id=1", false),
            ("/a%3Fb", "/a%3Fb", false),
            ("/a#b", "/a", false),
            ("http://shop.example?token=1", "http://shop.example", false),
            ("*", "*", false),
            ("", "", false),
            (&long_query, "/a", false),
            (&long_path, &long_path[..TARGET_BYTES], true),
        ] {
            let entry = entry();
            entry.claim(1, 0);
            entry.begin(1, b"GET", target.as_bytes(), None, b"");
            let mut request = entry.read().unwrap().request.unwrap();
            request.remove_query();
            let found = (String::from_utf8(request.target).unwrap(), request.is_cut);
            assert_eq!(found, (shown.to_owned(), is_cut), "{target}");
        }
    }

    #[test]
    fn texts_of_every_length_are_kept_as_far_as_they_fit() {
        let entry = entry();
        entry.claim(1, 0);
        for length in 0..200 {
            let text: Vec<u8> = (0..length).map(|index| b'a' + index % 26).collect();
            entry.begin(1, &text, &text, Some(&text), &text);
            let request = entry.read().unwrap().request.unwrap();
            let cut = |room: usize| &text[..text.len().min(room)];
            assert_eq!(request.method, cut(METHOD_BYTES), "{length}");
            assert_eq!(request.target, cut(TARGET_BYTES), "{length}");
            assert_eq!(request.client, cut(CLIENT_BYTES), "{length}");
            assert_eq!(request.request_id, cut(REQUEST_ID_BYTES), "{length}");
            assert_eq!(request.is_cut, text.len() > TARGET_BYTES, "{length}");
        }
    }

    /// Each request has one letter and one length, so that a mixture of two is detected.
    #[test]
    fn a_reader_never_sees_a_mixture_of_two_requests() {
        let entry = entry();
        entry.claim(1, 0);
        let is_over = AtomicBool::new(false);
        let seen = std::thread::scope(|scope| {
            scope.spawn(|| {
                // The last request is not ended, so that a reader that was not scheduled before still finds it.
                for round in 0..=400_000_u64 {
                    let letter = b'a' + (round % 26) as u8;
                    let length = (round % 26) as usize * 4 + 1;
                    let text = [letter; 128];
                    let (target, client) = (&text[..length], Some(&text[..40]));
                    entry.begin(round << 10, &text[..8], target, client, &text[..32]);
                    if round % 3 == 0 {
                        entry.end();
                    }
                }
                is_over.store(true, Ordering::SeqCst);
            });
            let mut seen = 0_u64;
            while !is_over.load(Ordering::SeqCst) || seen == 0 {
                let Some(request) = entry.read().and_then(|call| call.request) else {
                    continue;
                };
                let letter = b'a' + ((request.began >> 10) % 26) as u8;
                let length = ((request.began >> 10) % 26) as usize * 4 + 1;
                assert_eq!(request.target.len(), length, "{}", request.began);
                let Running {
                    method,
                    target,
                    client,
                    request_id,
                    ..
                } = &request;
                let all = [method, target, client, request_id];
                assert!(
                    all.into_iter().flatten().all(|byte| *byte == letter),
                    "{request:?}"
                );
                seen += 1;
            }
            seen
        });
        assert!(seen > 0);
    }
}
