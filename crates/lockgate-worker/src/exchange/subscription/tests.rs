//! Which messages a subscription gets, from where on, and what ends it.

use super::*;
use lockgate_push::{Content, Filters, HeldChannel, InstructionLimits, Message};
use lockgate_shm::{Log, LogPlan};
use std::sync::atomic::{AtomicU32, AtomicU64};

/// Names of channels, and the ids that the client has of them.
type Channels = &'static [(&'static str, Option<&'static str>)];

fn log() -> Log {
    let plan = LogPlan {
        size: 1 << 16,
        channels: 16,
    };
    let lock_words = (0..plan.lock_words()).map(|_| AtomicU32::new(0)).collect();
    let words = (0..plan.words()).map(|_| AtomicU64::new(0)).collect();
    Log::new(Vec::leak(lock_words), Vec::leak(words), plan, (1, 2)).unwrap()
}

fn rules(log: &Log) -> Rules {
    Rules {
        log: *log,
        limits: InstructionLimits { channels: 10 },
    }
}

/// Publishes a message whose content is its id.
fn publish(log: &Log, channel: &str, id: &str) {
    let message = Message {
        channel: channel.to_owned(),
        id: Some(id.to_owned()),
        content: Some(Content::Text(id.to_owned())),
        ..Message::default()
    };
    let mut record = Vec::new();
    message.encode(&mut record);
    log.append(channel.as_bytes(), id.as_bytes(), &record, 0)
        .unwrap();
}

fn instruction(mode: HoldMode, channels: &[(&str, Option<&str>)]) -> Instruction {
    let channels = channels.iter().map(|(name, prev_id)| HeldChannel {
        name: (*name).to_owned(),
        prev_id: prev_id.map(str::to_owned),
        filters: Filters::default(),
    });
    Instruction {
        mode,
        channels: channels.collect(),
        timeout: None,
        keep_alive: None,
        next: None,
        meta: Vec::new(),
        status: None,
    }
}

fn stream(
    log: &Log,
    channels: &[(&str, Option<&str>)],
    last_event_id: Option<&str>,
) -> Subscription {
    let request = Request {
        is_event_stream: true,
        last_event_id,
        ..Request::default()
    };
    let instruction = instruction(HoldMode::Stream, channels);
    Subscription::new(instruction, request, rules(log), Instant::now())
}

/// What the subscription sends of the records from `cursor` on.
fn read(subscription: &mut Subscription, log: &Log, mut cursor: Cursor) -> Vec<String> {
    let mut sent = Vec::new();
    let mut record = Vec::new();
    loop {
        let starts_at = cursor;
        if log.read(&mut cursor, &mut record) == lockgate_shm::Read::UpToDate {
            return sent;
        }
        let message = Message::decode(&record).unwrap();
        let id = message.id.clone().unwrap();
        let publication = Publication::new(message, starts_at, cursor);
        match subscription.on_message(&publication, Instant::now()) {
            Reaction::Nothing => {}
            Reaction::Send(bytes) => {
                assert_eq!(*bytes, *format!("id: {id}\ndata: {id}\n\n").as_bytes());
                sent.push(id);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_subscription_begins_after_the_message_that_its_client_has() {
    let cases: [(Channels, Option<&str>, &[&str]); 8] = [
        (&[("a", None)], None, &[]),
        (&[("a", Some("a2"))], None, &["a3"]),
        (&[("a", Some("a3"))], None, &[]),
        (&[("a", Some("gone"))], None, &[]),
        (
            &[("a", Some("a1")), ("b", Some("b2"))],
            None,
            &["a2", "a3", "b3"],
        ),
        (&[("a", None)], Some("a1"), &["a2", "a3"]),
        (&[("a", None), ("b", None)], Some("b2"), &["a3", "b3"]),
        // What the application says is more exact than what the client has sent.
        (&[("a", Some("a3"))], Some("a1"), &[]),
    ];
    for (channels, last_event_id, expected) in cases {
        let log = log();
        for number in 1..=3 {
            publish(&log, "a", &format!("a{number}"));
            publish(&log, "b", &format!("b{number}"));
        }
        let mut subscription = stream(&log, channels, last_event_id);
        let is_behind = subscription.channels().reads_from().is_some();
        let from = subscription.channels().reads_from().unwrap_or(log.head());
        let sent = read(&mut subscription, &log, from);
        assert_eq!(sent, expected, "{channels:?} {last_event_id:?}");
        assert!(is_behind || expected.is_empty(), "{channels:?}");
    }
}

#[test]
fn what_was_published_after_the_response_began_is_read_for_it() {
    for prev_id in [None, Some("of a database")] {
        let log = log();
        publish(&log, "a", "1");
        let since = log.head();
        publish(&log, "a", "2");
        let request = Request {
            is_event_stream: true,
            since: Some(since),
            ..Request::default()
        };
        let instruction = instruction(HoldMode::Stream, &[("a", prev_id)]);
        let mut subscription = Subscription::new(instruction, request, rules(&log), Instant::now());
        publish(&log, "a", "3");
        let channels = subscription.channels();
        assert_eq!(channels.reads_from(), Some(since));
        assert!(channels.asks_for_records());
        assert_eq!(read(&mut subscription, &log, since), ["2", "3"]);
    }
}

#[test]
fn a_message_is_sent_once_however_often_it_is_read() {
    let log = log();
    let mut subscription = stream(&log, &[("a", None)], None);
    let begin = log.head();
    publish(&log, "a", "1");
    publish(&log, "b", "2");
    publish(&log, "a", "3");
    assert_eq!(read(&mut subscription, &log, begin), ["1", "3"]);
    assert!(read(&mut subscription, &log, begin).is_empty());
}

#[test]
fn what_was_published_before_the_event_loop_knew_a_channel_is_read_for_it() {
    let log = log();
    let mut subscription = stream(&log, &[("a", None)], None);
    let channels = subscription.channels();
    let begin = log.head();
    assert!(channels.take_change() && !channels.take_change());
    publish(&log, "a", "1");
    assert!(channels.joins_at(log.head()));
    assert_eq!(channels.reads_from(), Some(begin));
    assert!(!channels.asks_for_records(), "the event loop knows");
    channels.continue_from(begin);
    assert!(channels.asks_for_records());
    channels.go_live();
    assert_eq!(channels.reads_from(), None);
}

#[test]
fn a_further_channel_has_a_place_of_its_own_in_the_log() {
    for (prev_id, expected) in [(None, &[] as &[&str]), (Some("b1"), &["b2"])] {
        let log = log();
        publish(&log, "b", "b1");
        let mut subscription = stream(&log, &[("a", None)], None);
        let begin = log.head();
        assert!(!subscription.channels().joins_at(begin));
        publish(&log, "a", "a1");
        assert_eq!(read(&mut subscription, &log, begin), ["a1"]);
        publish(&log, "b", "b2");
        let channels = subscription.channels();
        let _first_change = channels.take_change();
        let held = |name: &str| HeldChannel {
            name: name.to_owned(),
            prev_id: prev_id.map(str::to_owned),
            filters: Filters::default(),
        };
        assert!(channels.subscribe(&held("b")));
        assert!(channels.take_change() && !channels.joins_at(log.head()));
        let from = channels.reads_from();
        assert_eq!(from.is_some(), prev_id.is_some(), "{prev_id:?}");
        let from = from.unwrap_or(log.head());
        assert_eq!(read(&mut subscription, &log, from), expected);
        let channels = subscription.channels();
        assert!(channels.subscribe(&held("a")) && !channels.take_change());
        channels.unsubscribe("a");
        assert!(channels.take_change() && !channels.has("a"));
        let are_added = (0..9).map(|number| channels.subscribe(&held(&number.to_string())));
        assert!(are_added.eq([true; 9]), "ten at most");
        assert!(!channels.subscribe(&held("one more")));
    }
}

#[test]
fn a_response_is_the_first_message_or_comes_at_its_time() {
    let log = log();
    let now = Instant::now();
    let otherwise = StoredResponse {
        body: b"nothing".to_vec(),
        ..StoredResponse::default()
    };
    for (seconds, timeout) in [(55, None), (7, Some(Duration::from_secs(7)))] {
        let instruction = Instruction {
            timeout,
            ..instruction(HoldMode::Response, &[("a", None)])
        };
        let request = Request {
            otherwise: Some(otherwise.clone()),
            ..Request::default()
        };
        let mut subscription = Subscription::new(instruction, request, rules(&log), now);
        let due = now + Duration::from_secs(seconds);
        assert_eq!(subscription.next_time(now), due);
        let early = due - Duration::from_millis(1);
        assert_eq!(subscription.on_time(early), Reaction::Nothing);
        let expected = Reaction::Respond(Box::new(otherwise.clone()));
        assert_eq!(subscription.on_time(due), expected);
    }
}

#[test]
fn keep_alive_content_follows_silence_or_comes_in_intervals() {
    for (mode, message_at, expected) in [
        (KeepAliveMode::Idle, 15, vec![35, 55]),
        (KeepAliveMode::Interval, 15, vec![20, 40]),
    ] {
        let log = log();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let begin = log.head();
        let instruction = Instruction {
            keep_alive: Some(KeepAlive {
                content: b"\n".to_vec(),
                timeout: Duration::from_secs(20),
                mode,
            }),
            ..instruction(HoldMode::Stream, &[("a", None)])
        };
        let mut subscription =
            Subscription::new(instruction, Request::default(), rules(&log), start);
        publish(&log, "a", "1");
        let mut sent = Vec::new();
        for second in 0..60 {
            if second == message_at {
                let mut cursor = begin;
                let mut record = Vec::new();
                log.read(&mut cursor, &mut record);
                let message = Message::decode(&record).unwrap();
                let publication = Publication::new(message, begin, cursor);
                let reaction = subscription.on_message(&publication, at(second));
                assert!(matches!(reaction, Reaction::Send(_)));
            }
            if subscription.on_time(at(second)) == Reaction::Send(b"\n".into()) {
                sent.push(second);
            }
        }
        assert_eq!(sent, expected, "{mode:?}");
    }
}

#[test]
fn subscribers_end_one_after_the_other_until_the_limit() {
    let log = log();
    let now = Instant::now();
    let by = now + Duration::from_secs(5);
    let mut ends: Vec<_> = (0..1000_u64)
        .map(|index| {
            let mut subscription = stream(&log, &[("a", None)], None);
            let token = (index + 1) << 32 | index;
            subscription.end_by(Subscriber { token, stream: 0 }, by, now);
            let end = subscription.next_time(now);
            // A later limit moves nothing.
            subscription.end_by(
                Subscriber { token, stream: 0 },
                by + Duration::from_secs(9),
                now,
            );
            assert_eq!(subscription.next_time(now), end);
            end.duration_since(now).as_millis() as usize
        })
        .collect();
    ends.sort_unstable();
    assert!(*ends.last().unwrap() <= 5000);
    for tenth in 0..10 {
        let within = tenth * 500..(tenth + 1) * 500;
        let count = ends.iter().filter(|end| within.contains(*end)).count();
        assert!((60..140).contains(&count), "{tenth}: {count}");
    }
}

#[test]
fn lost_records_end_the_response() {
    let log = log();
    let now = Instant::now();
    let mut subscription = stream(&log, &[("a", None)], None);
    assert_eq!(subscription.on_time(now), Reaction::Nothing);
    subscription.channels().lose_records();
    assert_eq!(subscription.on_time(now), Reaction::End);
}

#[test]
fn filters_leave_messages_out_and_put_the_id_into_content() {
    let log = log();
    let now = Instant::now();
    let held = |name: &str, filters| HeldChannel {
        name: name.to_owned(),
        prev_id: Some("0".to_owned()),
        filters,
    };
    let meta = [("user", "alice"), ("id_format", "%(a)s,%(b)s%%")];
    let instruction = Instruction {
        channels: vec![
            held("a", Filters::SKIP_USERS),
            held("b", Filters::REQUIRE_SUB),
        ],
        meta: meta
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..instruction(HoldMode::Stream, &[])
    };
    let mut subscription = Subscription::new(instruction, Request::default(), rules(&log), now);
    assert_eq!(subscription.last_ids(), "a; last-id=0, b; last-id=0");
    let message = |channel: &str, id: &str| Message {
        channel: channel.to_owned(),
        id: Some(id.to_owned()),
        content: Some(Content::Text("%I 100%%".to_owned())),
        builds_id: true,
        ..Message::default()
    };
    let text = |text: &str| Some(text.to_owned());
    for (message, expected) in [
        (message("a", "1"), Some(&b"1,0% 100%"[..])),
        (
            Message {
                skip_users: text("bob,alice"),
                ..message("a", "2")
            },
            None,
        ),
        (
            Message {
                require_sub: text("c"),
                ..message("b", "1")
            },
            None,
        ),
        (
            Message {
                require_sub: text("a"),
                ..message("b", "x y")
            },
            Some(b"2,x y% 100%"),
        ),
    ] {
        let starts_at = log.head();
        publish(&log, &message.channel, "filler");
        let publication = Publication::new(message, starts_at, log.head());
        let expected = expected.map_or(Reaction::Nothing, |bytes| Reaction::Send(bytes.into()));
        assert_eq!(subscription.on_message(&publication, now), expected);
    }
    assert_eq!(subscription.last_ids(), "a; last-id=2, b; last-id=\"x y\"");
}
