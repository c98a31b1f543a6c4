//! What becomes of purges, over a stream in memory.

use std::sync::{Arc, Mutex};

use super::fake::{FakeServer, log};
use crate::receiver::{Dropped, Receiver};
use crate::sender::Sender;
use crate::traffic::{CachePurges, Purges, Traffic};

/// Notes what is done.
#[derive(Clone, Default)]
struct Noted(Arc<Mutex<Vec<String>>>);

impl Noted {
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Purges for Noted {
    fn apply(&self, record: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(record).map_err(|error| error.to_string())?;
        self.note(text);
        Ok(())
    }

    fn purge_all(&self) {
        self.note("all");
    }

    fn ask_others_to_purge_all(&self) {
        self.note("all of others");
    }
}

#[test]
fn purges_reach_the_other_servers_and_not_their_own() {
    let (own, others) = (log(1 << 16), Noted::default());
    let mut stream = FakeServer::new("a");
    let traffic = Arc::new(CachePurges(others.clone()));
    let mut sender = Sender::new(own, traffic.clone(), 0);
    let mut receivers = ["a", "b", "c"].map(|origin| {
        let mut connection = stream.connect(origin);
        let mut receiver = Receiver::new(traffic.clone(), origin.to_owned(), 0);
        assert_eq!(receiver.begin(&mut connection, 0), Ok(true));
        (connection, receiver)
    });
    sender.begin(&mut stream).unwrap();
    own.append(b"purge", b"", b"tag news", 1).unwrap();
    sender.step(&mut stream).unwrap();
    stream.add("d", vec![255]);
    for (connection, receiver) in &mut receivers {
        let dropped = receiver.step(connection, 0).unwrap();
        assert_eq!(dropped.count, 1);
        assert!(dropped.problem.starts_with("the entry "), "{dropped:?}");
        assert_eq!(receiver.step(connection, 0), Ok(Dropped::default()));
    }
    assert_eq!(others.take(), ["tag news", "tag news"]);
}

#[test]
fn purges_that_are_lost_are_replaced_by_one_of_everything() {
    let noted = Noted::default();
    let traffic = CachePurges(noted.clone());
    traffic.on_missed();
    traffic.on_overwritten();
    assert_eq!(noted.take(), ["all", "all of others"]);
}
