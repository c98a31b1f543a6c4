//! Tables of which requests get a place and which wait, and random requests: never do too many have a place, and none is
//! lost.

use super::*;
use std::collections::HashMap;
use std::time::Duration;

use lockgate_config::{
    AppSpec, Config, HostPattern, Priority, RouteConfig, RouteRules, ThreadShare,
};
use lockgate_routes::{HostName, PathKey, Routes};
use proptest::prelude::*;

use crate::exchange::request::Request;
use crate::exchange::writer::Presence;
use crate::seams::Client;

/// A worker whose routes have these threads and priorities.
struct Fixture {
    bulkheads: Arc<Bulkheads>,
    routes: Routes,
    start: Instant,
    entered: u64,
}

impl Fixture {
    fn new(routes: &[(&str, Option<u16>, Priority)], queue_size: usize) -> Self {
        let mut config = Config::with_defaults(AppSpec::Module {
            module: "app".to_owned(),
            attribute: None,
        });
        config.routes.routes = routes
            .iter()
            .map(|(path, threads, priority)| RouteConfig {
                host: HostPattern::Any,
                path: (*path).to_owned(),
                mount: None,
                rules: RouteRules {
                    threads: threads.map(|count| ThreadShare::Count(count.try_into().unwrap())),
                    priority: Some(*priority),
                    queue_timeout: Some(Some(Duration::from_secs(1))),
                    ..RouteRules::default()
                },
            })
            .collect();
        let routes = Routes::new(&config.routes);
        let limits = RouteLimits::new(&config, &routes).unwrap();
        let pool = Arc::new(ThreadPool::new(4, None, Duration::from_millis(2)));
        Self {
            bulkheads: Arc::new(Bulkheads::new(limits, queue_size, pool, Box::new(|| {}))),
            routes,
            start: Instant::now(),
            entered: 0,
        }
    }

    /// Enters the next request, which is complete a millisecond after the last one.
    fn enter(&mut self, path: &str, presence: Presence) -> Entry {
        let found = self
            .routes
            .find(&HostName::of(None), &PathKey::of(path.as_bytes()));
        let mut request = Box::<Request>::default();
        request.admitted.route = found.unwrap().route;
        self.entered += 1;
        let ready_at = self.start + Duration::from_millis(self.entered);
        let client = Box::new(Client::new(presence));
        self.bulkheads
            .enter(Exchange::new(request, client, ready_at, 0))
    }

    /// The number of a request, in the order in which they were entered.
    fn number(&self, exchange: &Exchange) -> u64 {
        let since = exchange.ready_at - self.start;
        u64::try_from(since.as_millis()).unwrap()
    }

    fn admit(&mut self, path: &str) -> Exchange {
        match self.enter(path, Presence::Connected) {
            Entry::Admitted(exchange) => exchange,
            Entry::Waiting | Entry::Full(_) => panic!("{path} has no place"),
        }
    }

    fn wait(&mut self, path: &str) {
        assert!(
            matches!(self.enter(path, Presence::Connected), Entry::Waiting),
            "{path}"
        );
    }

    /// The numbers of the requests that have got their places since the last call.
    fn admitted(&self) -> Vec<u64> {
        let exchanges = std::iter::from_fn(|| self.bulkheads.pool.take_from_backlog());
        // Their places are kept.
        exchanges
            .map(|mut exchange| {
                std::mem::forget(exchange.request.admitted.place.take());
                self.number(&exchange)
            })
            .collect()
    }
}

#[test]
fn requests_without_a_place_wait_and_others_are_taken_past_them() {
    let routes = [
        ("/reports", Some(2), Priority::Normal),
        ("/reports/yearly", Some(1), Priority::Normal),
        ("/mail", Some(1), Priority::Normal),
    ];
    for (paths, expected) in [
        (
            &["/reports", "/reports", "/reports", "/shop", "/shop"][..],
            "AAWAA",
        ),
        (
            &["/reports/yearly", "/reports/yearly", "/reports", "/reports"],
            "AWAW",
        ),
        // One of two places is left, but the inner bulkhead is full.
        (
            &["/reports/yearly", "/reports/yearly/1", "/mail/1", "/mail"],
            "AWAW",
        ),
        // Two may wait for each combination of places.
        (
            &["/mail", "/mail", "/mail", "/mail", "/shop", "/reports"],
            "AWWFAA",
        ),
    ] {
        let mut fixture = Fixture::new(&routes, 2);
        let mut kept = Vec::new();
        let mut found = String::new();
        for path in paths {
            found.push(match fixture.enter(path, Presence::Connected) {
                Entry::Admitted(exchange) => {
                    kept.push(exchange);
                    'A'
                }
                Entry::Waiting => 'W',
                Entry::Full(_) => 'F',
            });
        }
        assert_eq!(found, expected, "{paths:?}");
        assert_eq!(fixture.bulkheads.waiting(), expected.matches('W').count());
    }
}

#[test]
fn a_place_goes_to_the_oldest_request_of_the_highest_priority_that_can_use_it() {
    let routes = [
        ("/all", Some(2), Priority::Normal),
        ("/all/urgent", None, Priority::High),
        ("/all/yearly", Some(1), Priority::Low),
        ("/all/monthly", Some(1), Priority::Normal),
    ];
    for (waiting, expected) in [
        (&["/all", "/all"][..], 3),
        (&["/all", "/all/urgent"], 4),
        (&["/all/yearly", "/all/monthly", "/all"], 4),
        // Its own bulkhead is still full.
        (&["/all/yearly", "/all/yearly"], 3),
    ] {
        let mut fixture = Fixture::new(&routes, 9);
        let (first, second) = (fixture.admit("/all"), fixture.admit("/all"));
        for path in waiting {
            fixture.wait(path);
        }
        assert_eq!(fixture.admitted(), [0; 0]);
        assert_eq!(
            fixture.bulkheads.oldest(),
            Some(fixture.start + Duration::from_millis(3))
        );
        drop(first);
        assert_eq!(fixture.admitted(), [expected], "{waiting:?}");
        assert_eq!(fixture.bulkheads.waiting(), waiting.len() - 1);
        std::mem::forget(second);
    }
}

#[test]
fn an_outer_place_that_is_free_is_not_kept_for_an_inner_bulkhead_that_is_full() {
    let routes = [
        ("/all", Some(2), Priority::Normal),
        ("/all/yearly", Some(1), Priority::High),
    ];
    let mut fixture = Fixture::new(&routes, 9);
    let (yearly, other) = (fixture.admit("/all/yearly"), fixture.admit("/all"));
    fixture.wait("/all/yearly");
    fixture.wait("/all");
    drop(other);
    assert_eq!(fixture.admitted(), [4]);
    drop(yearly);
    assert_eq!(fixture.admitted(), [3]);
}

#[test]
fn requests_that_wait_are_dropped_for_their_age_or_their_client() {
    let mut fixture = Fixture::new(&[("/a", Some(1), Priority::Normal)], 9);
    let running = fixture.admit("/a");
    fixture.wait("/a");
    assert!(matches!(
        fixture.enter("/a", Presence::Gone),
        Entry::Waiting
    ));
    fixture.wait("/a");
    let bulkheads = Arc::clone(&fixture.bulkheads);
    let limit = LongestWait {
        server: None,
        routes: Some(bulkheads.limits()),
    };
    let mut dropped = Vec::new();
    let now = fixture.start + Duration::from_millis(1002);
    assert_eq!(bulkheads.drop_requests(now, limit, &mut dropped), None);
    let dropped: Vec<_> = (dropped.iter())
        .map(|(exchange, why)| (fixture.number(exchange), *why))
        .collect();
    assert_eq!(dropped, [(2, DropReason::TooLate), (3, DropReason::Gone)]);
    assert_eq!(bulkheads.waiting(), 1);
    drop(running);
    assert_eq!(fixture.admitted(), [4]);
}

#[derive(Debug, Clone)]
enum Step {
    Enter(usize, bool),
    /// A thread takes a request that has waited.
    Take,
    /// A call ends, or a request that is queued for a thread is dropped.
    End(usize),
    /// This many milliseconds later the queues are searched for requests to drop.
    Sweep(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..5_usize, prop::bool::weighted(0.9)).prop_map(|(path, stays)| Step::Enter(path, stays)),
        4 => Just(Step::Take),
        4 => any::<usize>().prop_map(Step::End),
        1 => (0..1500_u64).prop_map(Step::Sweep),
    ];
    prop::collection::vec(step, 1..120)
}

const PATHS: [&str; 5] = ["/shop", "/a", "/a/b", "/a/c", "/d"];

/// The bulkheads of each path, and their places.
const CHAINS: [&[usize]; 5] = [&[], &[0], &[0, 1], &[0, 2], &[3]];
const PLACES: [usize; 4] = [3, 1, 2, 1];

proptest! {
    #[test]
    fn never_too_many_have_a_place_and_no_request_is_lost(steps in steps()) {
        let mut fixture = Fixture::new(
            &[
                ("/a", Some(3), Priority::Normal),
                ("/a/b", Some(1), Priority::High),
                ("/a/c", Some(2), Priority::Low),
                ("/d", Some(1), Priority::Normal),
            ],
            4,
        );
        let bulkheads = Arc::clone(&fixture.bulkheads);
        let mut paths: HashMap<u64, usize> = HashMap::new();
        let mut running: Vec<Exchange> = Vec::new();
        let mut over = 0_u64;
        for step in steps {
            match step {
                Step::Enter(path, stays) => {
                    let presence = if stays { Presence::Connected } else { Presence::Gone };
                    let entry = fixture.enter(PATHS[path], presence);
                    paths.insert(fixture.entered, path);
                    match entry {
                        Entry::Admitted(exchange) => running.push(exchange),
                        Entry::Waiting => {}
                        Entry::Full(_) => over += 1,
                    }
                }
                Step::Take => running.extend(bulkheads.pool.take_from_backlog()),
                Step::End(index) if !running.is_empty() => {
                    let exchange = running.swap_remove(index % running.len());
                    drop(exchange);
                    over += 1;
                }
                Step::End(_) => {}
                Step::Sweep(after) => {
                    let limit = LongestWait { server: None, routes: Some(bulkheads.limits()) };
                    let mut dropped = Vec::new();
                    let now = fixture.start + Duration::from_millis(after);
                    bulkheads.drop_requests(now, limit, &mut dropped);
                    over += dropped.len() as u64;
                }
            }
            // Those in the backlog have places, too.
            running.extend(std::iter::from_fn(|| bulkheads.pool.take_from_backlog()));
            let mut taken = [0; 4];
            for exchange in &running {
                for &bulkhead in CHAINS[paths[&fixture.number(exchange)]] {
                    taken[bulkhead] += 1;
                }
            }
            prop_assert!((0..4).all(|index| taken[index] <= PLACES[index]), "{:?}", taken);
            prop_assert_eq!(&bulkheads.lock().taken, &taken.to_vec());
            let waiting = bulkheads.waiting() as u64;
            prop_assert_eq!(fixture.entered, running.len() as u64 + waiting + over);
            let state = bulkheads.lock();
            prop_assert_eq!(state.queues.iter().map(Queue::len).sum::<usize>() as u64, waiting);
            for (chain, queue) in bulkheads.limits().chains().iter().zip(&state.queues) {
                let is_full = chain.iter().any(|&index| {
                    let index = usize::from(index);
                    taken[index] == PLACES[index]
                });
                prop_assert!(queue.is_empty() || is_full, "a request waits for places that are free");
            }
        }
        running.clear();
        while let Some(exchange) = bulkheads.pool.take_from_backlog() {
            drop(exchange);
        }
        prop_assert_eq!((bulkheads.waiting(), bulkheads.lock().taken.iter().sum::<usize>()), (0, 0));
    }
}
