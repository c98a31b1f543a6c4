//! What a receiver appends, over a stream in memory.

use lockgate_push::Message;
use lockgate_shm::{Log, Read};

use super::fake::{FakeServer, LIMIT, MILLISECOND, encoded, log, message, messages, publish};
use crate::receiver::{Dropped, Receiver};
use crate::server::Server;

fn receiver(log: Log, now: u64) -> Receiver {
    Receiver::new(messages(log), "b".to_owned(), now)
}

/// What the log has: contents, and whether they came from the stream.
fn contents(log: &Log) -> Vec<String> {
    let mut cursor = log.oldest();
    let mut record = Vec::new();
    let mut contents = Vec::new();
    while let Read::Record { .. } = log.read(&mut cursor, &mut record) {
        contents.push(message(&record));
    }
    contents
}

fn add(server: &FakeServer, origin: &str, content: &str) {
    server.add(origin, encoded(content, None));
}

#[test]
fn entries_of_other_servers_are_appended_once_and_in_order() {
    let log = log(1 << 16);
    let mut server = FakeServer::new("b");
    add(&server, "a", "from before");
    let mut receiver = receiver(log, 0);
    server.pass_milliseconds(1);
    assert_eq!(receiver.begin(&mut server, MILLISECOND), Ok(true));
    for content in ["one", "two", "three"] {
        add(&server, "a", content);
        add(&server, "b", "of this server");
    }
    for _ in 0..3 {
        assert_eq!(receiver.step(&mut server, 0), Ok(Dropped::default()));
    }
    add(&server, "c", "four");
    receiver.step(&mut server, 0).unwrap();
    assert_eq!(contents(&log), ["one", "two", "three", "four"]);
}

#[test]
fn what_was_added_while_redis_could_not_be_reached_is_appended() {
    let log = log(1 << 16);
    let mut server = FakeServer::new("b");
    add(&server, "a", "from before the start");
    server.pass_milliseconds(1);
    let mut receiver = receiver(log, 0);
    server.pass_milliseconds(10);
    add(&server, "a", "one");
    server.pass_milliseconds(10);
    receiver.begin(&mut server, 20 * MILLISECOND).unwrap();
    receiver.step(&mut server, 0).unwrap();
    add(&server, "a", "two");
    receiver.begin(&mut server, 21 * MILLISECOND).unwrap();
    receiver.step(&mut server, 0).unwrap();
    assert_eq!(contents(&log), ["one", "two"]);
}

#[test]
fn the_next_process_goes_on_where_the_last_one_ended() {
    let log = log(1 << 16);
    let mut server = FakeServer::new("b");
    for number in 1..=3 {
        let mut receiver = receiver(log, number * 1000 * MILLISECOND);
        receiver
            .begin(&mut server, number * 1000 * MILLISECOND)
            .unwrap();
        add(&server, "a", &format!("{number} a"));
        receiver.step(&mut server, 0).unwrap();
        // This server's own records do not say how far it has come.
        publish(&log, "own", 0, None);
        add(&server, "a", &format!("{number} b"));
        server.pass_milliseconds(1000);
    }
    let received: Vec<_> = contents(&log)
        .into_iter()
        .filter(|it| it != "own")
        .collect();
    assert_eq!(received, ["1 a", "1 b", "2 a", "2 b", "3 a"]);
}

#[test]
fn a_process_that_has_received_nothing_leaves_its_position_to_the_next() {
    let log = log(1 << 16);
    let mut server = FakeServer::new("b");
    add(&server, "a", "from before");
    server.pass_milliseconds(1);
    receiver(log, 0).begin(&mut server, 0).unwrap();
    add(&server, "a", "one");
    server.pass_milliseconds(1000);
    let mut next = receiver(log, 1000 * MILLISECOND);
    next.begin(&mut server, 1000 * MILLISECOND).unwrap();
    next.step(&mut server, 0).unwrap();
    assert_eq!(contents(&log), ["one"]);
}

#[test]
fn a_new_stream_is_read_from_its_start_also_with_a_clock_that_is_behind() {
    for clock in [0, 5_000_000] {
        let log = log(1 << 16);
        let mut server = FakeServer::new("b");
        let mut receiver = receiver(log, 0);
        receiver.begin(&mut server, 0).unwrap();
        add(&server, "a", "one");
        receiver.step(&mut server, 0).unwrap();
        server.lose_data();
        server.set_clock(clock);
        receiver.begin(&mut server, 0).unwrap();
        add(&server, "a", "two");
        receiver.step(&mut server, 0).unwrap();
        assert_eq!(contents(&log), ["one", "two"], "{clock}");
    }
}

#[test]
fn a_stream_that_has_lost_what_was_not_read_is_noticed() {
    for (unread, is_complete) in [(2, true), (6, false)] {
        let mut server = FakeServer::new("b");
        server.length = 5;
        let mut receiver = receiver(log(1 << 16), 0);
        receiver.begin(&mut server, 0).unwrap();
        (0..4).for_each(|_| add(&server, "a", "read"));
        receiver.step(&mut server, 0).unwrap();
        (0..unread).for_each(|_| add(&server, "a", "unread"));
        assert_eq!(receiver.begin(&mut server, 0), Ok(is_complete), "{unread}");
    }
}

#[test]
fn an_entry_that_cannot_be_appended_is_dropped_and_the_next_one_is_not() {
    let long = encoded(&"x".repeat(LIMIT), None);
    let foreign = vec![255, 1, 2];
    let no_channel = {
        let mut record = Vec::new();
        Message::default().encode(&mut record);
        record
    };
    for (record, problem) in [
        (long, "more than the 200 that are allowed"),
        (foreign, "no message of this version"),
        (no_channel, "channel"),
        (Vec::new(), "no message of this version"),
    ] {
        let log = log(1 << 16);
        let mut server = FakeServer::new("b");
        let mut receiver = receiver(log, 0);
        receiver.begin(&mut server, 0).unwrap();
        server.add("a", record.clone());
        server.add("", record);
        add(&server, "a", "good");
        let dropped = receiver.step(&mut server, 0).unwrap();
        assert_eq!(dropped.count, 2);
        assert!(dropped.problem.contains(problem), "{}", dropped.problem);
        assert_eq!(contents(&log), ["good"]);
    }
}

#[test]
fn the_position_is_kept_every_ten_seconds() {
    let mut server = FakeServer::new("b");
    let mut receiver = receiver(log(1 << 16), 0);
    receiver.begin(&mut server, 0).unwrap();
    let kept = |server: &mut FakeServer| server.state().unwrap().read.unwrap();
    let start = kept(&mut server);
    add(&server, "a", "one");
    receiver.step(&mut server, 9_999 * MILLISECOND).unwrap();
    assert_eq!(kept(&mut server), start);
    receiver.step(&mut server, 10_000 * MILLISECOND).unwrap();
    assert!(kept(&mut server) > start);
}
