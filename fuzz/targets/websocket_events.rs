//! Any bytes as `application/websocket-events`: no panic, limits, and what is decoded is encoded and decoded again. A
//! content that is cut has fewer events or ends inside one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lockgate_http::websocket::events::{
    EventLimits, InvalidEvents, WebSocketEvent, decode, encode,
};

/// Up to this length every single cut is tried.
const SHORT: usize = 120;

const LIMITS: [EventLimits; 2] = [
    EventLimits {
        events: 64,
        size: 2048,
    },
    EventLimits {
        events: 3,
        size: 20,
    },
];

fuzz_target!(|content: &[u8]| {
    for limits in LIMITS {
        let Ok(events) = decode(content, limits) else {
            continue;
        };
        assert!(events.len() <= limits.events);
        assert!(events.iter().all(|event| size_of(event) <= limits.size));
        let mut encoded = Vec::new();
        events.iter().for_each(|event| encode(event, &mut encoded));
        assert_eq!(decode(&encoded, limits).as_ref(), Ok(&events));
        let cuts = if content.len() <= SHORT {
            content.len()
        } else {
            20
        };
        for cut in 0..cuts {
            match decode(&content[..cut], limits) {
                Ok(fewer) => assert_eq!(fewer[..], events[..fewer.len()], "cut at {cut}"),
                Err(error) => assert_eq!(error, InvalidEvents::Truncated, "cut at {cut}"),
            }
        }
    }
});

fn size_of(event: &WebSocketEvent) -> usize {
    match event {
        WebSocketEvent::Text(text) => text.len(),
        WebSocketEvent::Binary(bytes)
        | WebSocketEvent::Ping(bytes)
        | WebSocketEvent::Pong(bytes) => bytes.len(),
        WebSocketEvent::Close(Some((_, reason))) => 2 + reason.len(),
        WebSocketEvent::Open | WebSocketEvent::Close(None) | WebSocketEvent::Disconnect => 0,
    }
}
