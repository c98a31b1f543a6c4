//! What a sender sends, over a stream in memory that can fail at each step.

use std::time::Duration;

use super::fake::{Broken, FakeServer, log, message, messages, publish};
use crate::sender::Sender;

fn contents(server: &FakeServer) -> Vec<String> {
    let entries = server.entries();
    entries.iter().map(|entry| message(&entry.record)).collect()
}

/// Steps until nothing is left to send.
fn send_all(sender: &mut Sender, server: &mut FakeServer) -> u64 {
    let mut overwritten = 0;
    loop {
        let sent = sender.step(server).unwrap();
        overwritten += sent.overwritten;
        if sent.records == 0 && !sender.wait(Duration::ZERO) {
            return overwritten;
        }
    }
}

#[test]
fn what_was_published_since_the_start_is_sent_once_and_in_order() {
    let log = log(1 << 16);
    publish(&log, "old", 1, None);
    let mut server = FakeServer::new("a");
    let mut sender = Sender::new(log, messages(log), 5);
    publish(&log, "one", 5, None);
    sender.begin(&mut server).unwrap();
    publish(&log, "two", 6, None);
    publish(&log, "of another server", 6, Some("3-0"));
    publish(&log, "three", 7, None);
    assert_eq!(send_all(&mut sender, &mut server), 0);
    assert_eq!(contents(&server), ["one", "two", "three"]);
    assert!(!sender.wait(Duration::ZERO));
    publish(&log, "four", 8, None);
    assert!(sender.wait(Duration::ZERO));
    assert_eq!(send_all(&mut sender, &mut server), 0);
    assert_eq!(contents(&server), ["one", "two", "three", "four"]);
    assert!(server.entries().iter().all(|entry| entry.origin == "a"));
}

#[test]
fn the_next_process_goes_on_where_the_last_one_ended() {
    let log = log(1 << 16);
    let mut server = FakeServer::new("a");
    for (number, started) in [(1, 0), (2, 1_000), (3, 2_000)] {
        let mut sender = Sender::new(log, messages(log), started);
        sender.begin(&mut server).unwrap();
        publish(&log, &format!("{number} a"), 0, None);
        send_all(&mut sender, &mut server);
        // Published while no process ran, and before the next one has started.
        publish(&log, &format!("{number} b"), 0, None);
    }
    assert_eq!(contents(&server), ["1 a", "1 b", "2 a", "2 b", "3 a"]);
}

#[test]
fn a_lost_answer_sends_nothing_twice_and_a_lost_request_leaves_nothing_out() {
    for broken in [Broken::Request, Broken::Answer] {
        let log = log(1 << 16);
        let mut server = FakeServer::new("a");
        let mut sender = Sender::new(log, messages(log), 0);
        sender.begin(&mut server).unwrap();
        publish(&log, "one", 1, None);
        server.broken = Some(broken);
        assert!(sender.step(&mut server).is_err());
        publish(&log, "two", 1, None);
        sender.begin(&mut server).unwrap();
        send_all(&mut sender, &mut server);
        assert_eq!(contents(&server), ["one", "two"], "{broken:?}");
    }
}

#[test]
fn two_processes_of_one_server_send_nothing_twice() {
    let log = log(1 << 16);
    let mut server = FakeServer::new("a");
    let mut other_connection = server.another_connection();
    let mut sender = Sender::new(log, messages(log), 0);
    let mut other = Sender::new(log, messages(log), 0);
    sender.begin(&mut server).unwrap();
    other.begin(&mut other_connection).unwrap();
    for number in 0..5 {
        publish(&log, &number.to_string(), 1, None);
        send_all(&mut sender, &mut server);
        send_all(&mut other, &mut other_connection);
    }
    assert_eq!(contents(&server), ["0", "1", "2", "3", "4"]);
}

#[test]
fn redis_that_has_lost_its_data_gets_what_it_has_not_had() {
    let log = log(1 << 16);
    let mut server = FakeServer::new("a");
    let mut sender = Sender::new(log, messages(log), 0);
    sender.begin(&mut server).unwrap();
    publish(&log, "one", 1, None);
    send_all(&mut sender, &mut server);
    server.lose_data();
    publish(&log, "two", 1, None);
    sender.begin(&mut server).unwrap();
    send_all(&mut sender, &mut server);
    assert_eq!(contents(&server), ["two"]);
    // The next process learns it from Redis.
    let mut next = Sender::new(log, messages(log), 0);
    next.begin(&mut server).unwrap();
    send_all(&mut next, &mut server);
    assert_eq!(contents(&server), ["two"]);
}

#[test]
fn records_that_are_overwritten_before_they_are_sent_are_counted() {
    let log = log(4096);
    let mut server = FakeServer::new("a");
    let mut sender = Sender::new(log, messages(log), 0);
    sender.begin(&mut server).unwrap();
    publish(&log, "0", 1, None);
    send_all(&mut sender, &mut server);
    for number in 1..=200 {
        publish(&log, &number.to_string(), 1, None);
    }
    let overwritten = send_all(&mut sender, &mut server);
    let sent = server.entries().len() as u64 - 1;
    assert!(overwritten > 100, "{overwritten}");
    assert_eq!(overwritten + sent, 200);
    assert_eq!(contents(&server).last().unwrap(), "200");
}
