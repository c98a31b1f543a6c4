//! Threads for work that may wait for a disk or compute for long, and needs no interpreter.
//!
//! They start when there is work and end when there is none. The event loop gives work away and gets the result through
//! its inbox.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::helper_thread::PanicGuard;

/// Disks answer several requests at a time.
const THREADS_FOR_DISKS: usize = 4;

/// A service that answers in 10 ms gets 3,200 requests a second from each worker.
const THREADS_FOR_A_SERVICE: usize = 32;

/// More requests do not wait: a service that is slower than its requests come would be asked ever later.
const MOST_WAITING_FOR_A_SERVICE: usize = 512;

/// A computation occupies a core, and the event loop should have another one.
const THREADS_FOR_COMPUTING: usize = 2;

/// More computations do not wait: the caller does without.
const MOST_WAITING_TO_COMPUTE: usize = 32;

/// A thread without work ends after this time.
const IDLE: Duration = Duration::from_secs(10);

const NAME: &str = "lockgate-blocking";

type Job = Box<dyn FnOnce() + Send>;

/// See the module documentation. A clone has the same threads.
#[derive(Clone)]
pub struct BlockingPool(Arc<Pool>);

struct Pool {
    state: Mutex<State>,
    has_work: Condvar,
    panic_guard: PanicGuard,
    most_threads: usize,
    most_waiting: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

impl BlockingPool {
    /// For work that waits for disks.
    pub(crate) fn for_disks(panic_guard: PanicGuard) -> Self {
        Self::new(panic_guard, THREADS_FOR_DISKS, usize::MAX)
    }

    /// For work that computes.
    pub(crate) fn for_computing(panic_guard: PanicGuard) -> Self {
        Self::new(panic_guard, THREADS_FOR_COMPUTING, MOST_WAITING_TO_COMPUTE)
    }

    /// For requests to another service.
    pub(crate) fn for_a_service(panic_guard: PanicGuard) -> Self {
        let (threads, waiting) = (THREADS_FOR_A_SERVICE, MOST_WAITING_FOR_A_SERVICE);
        Self::new(panic_guard, threads, waiting)
    }

    fn new(panic_guard: PanicGuard, most_threads: usize, most_waiting: usize) -> Self {
        Self(Arc::new(Pool {
            state: Mutex::default(),
            has_work: Condvar::new(),
            panic_guard,
            most_threads,
            most_waiting,
        }))
    }

    /// Runs `job` on a thread of the pool. Does not wait.
    ///
    /// # Errors
    /// The system's error when there is no thread and none can be started, or `WouldBlock` when too much waits; `job` is
    /// dropped then.
    pub fn spawn(&self, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.jobs.len() >= self.0.most_waiting {
            drop(state);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.jobs.push_back(Box::new(job));
        if state.idle >= state.jobs.len() {
            self.0.has_work.notify_one();
            return Ok(());
        }
        if state.threads >= self.0.most_threads {
            return Ok(());
        }
        let pool = Arc::clone(&self.0);
        match (self.0.panic_guard).spawn(NAME, move || pool.run()) {
            Ok(()) => state.threads += 1,
            // A thread that works takes the job afterwards.
            Err(_) if state.threads > 0 => {}
            Err(error) => {
                let lost = state.jobs.pop_back();
                drop(state);
                drop(lost);
                return Err(error);
            }
        }
        Ok(())
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                job();
                state = self.lock();
                continue;
            }
            state.idle += 1;
            let (woken, _) = (self.has_work)
                .wait_timeout_while(state, IDLE, |state| state.jobs.is_empty())
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if state.jobs.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn all_jobs_run_on_few_threads_at_the_same_time() {
        let pool = BlockingPool::for_disks(PanicGuard::default());
        let (sender, receiver) = channel();
        let gate = Arc::new(std::sync::Barrier::new(THREADS_FOR_DISKS));
        for number in 0..THREADS_FOR_DISKS * 3 {
            let (sender, gate) = (sender.clone(), Arc::clone(&gate));
            // Each waits for as many others as there are threads.
            pool.spawn(move || {
                gate.wait();
                sender.send(number).unwrap();
            })
            .unwrap();
        }
        let mut done: Vec<usize> = receiver.iter().take(THREADS_FOR_DISKS * 3).collect();
        done.sort_unstable();
        assert_eq!(done, (0..THREADS_FOR_DISKS * 3).collect::<Vec<_>>());
        assert!(pool.0.lock().threads <= THREADS_FOR_DISKS);
    }

    #[test]
    fn more_computations_than_may_wait_are_refused() {
        let pool = BlockingPool::new(PanicGuard::default(), 1, 2);
        let gate = Arc::new(std::sync::Barrier::new(2));
        let (sender, receiver) = channel();
        let spawn = |number: u32| {
            let (gate, sender) = (Arc::clone(&gate), sender.clone());
            pool.spawn(move || {
                sender.send(number).unwrap();
                gate.wait();
            })
        };
        spawn(0).unwrap();
        // The thread has taken it.
        receiver.recv().unwrap();
        spawn(1).unwrap();
        spawn(2).unwrap();
        let refused = spawn(3).map_err(|error| error.kind());
        assert_eq!(refused, Err(io::ErrorKind::WouldBlock));
        for number in 1..3 {
            gate.wait();
            assert_eq!(receiver.recv().unwrap(), number);
        }
        gate.wait();
    }
}
