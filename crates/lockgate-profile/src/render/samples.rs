//! Profiles made by hand, for the tests of this directory.

use std::time::Duration;

use crate::{Activity, Frame, Profile, RequestSamples, Row, StackId, Stacks, Weight};

/// A row: the label, the functions of its stack from the first caller on, the activity, samples and milliseconds.
///
/// `thread` is the start of a thread, a name with a dot (`json.loads`) Python's, one with a slash (`flask/app.dispatch`)
/// a package's, and any other the application's, in line N of app.py where N is its place in the stack.
pub(super) struct Sample(
    pub(super) &'static str,
    pub(super) &'static str,
    pub(super) Activity,
    pub(super) u64,
    pub(super) u64,
);

pub(super) fn profile(samples: &[Sample]) -> Profile {
    let mut profile = Profile {
        interval: Duration::from_millis(10),
        duration: Duration::from_secs(1),
        rounds: 100,
        ..Profile::default()
    };
    for Sample(label, functions, activity, count, milliseconds) in samples {
        let row = Row {
            label: (*label).to_owned(),
            stack: stack(&mut profile.stacks, functions),
            activity: activity.clone(),
        };
        profile.record(row, weight(*count, *milliseconds));
    }
    profile
}

pub(super) fn stack(stacks: &mut Stacks, functions: &str) -> StackId {
    let mut stack = StackId::EMPTY;
    let mut line = 0;
    for function in functions.split(' ').filter(|function| !function.is_empty()) {
        let (file, function) = match (function.rsplit_once('.'), function.contains('/')) {
            _ if function == "thread" => {
                ("/usr/lib/python3.12/threading.py".to_owned(), "Thread.run")
            }
            (Some((file, function)), true) => (format!("/venv/site-packages/{file}.py"), function),
            (Some((file, function)), false) => (format!("/usr/lib/python3.12/{file}.py"), function),
            (None, _) => {
                line += 1;
                ("/srv/shop/app.py".to_owned(), function)
            }
        };
        let frame = Frame {
            function: function.to_owned(),
            line: if file == "/srv/shop/app.py" { line } else { 7 },
            file,
        };
        stack = stacks.push(stack, &frame);
    }
    stack
}

pub(super) fn weight(samples: u64, milliseconds: u64) -> Weight {
    Weight {
        samples,
        cpu: Duration::from_millis(milliseconds),
    }
}

/// A second of a shop: a slow database, a hot line, a lock, and a slow request.
pub(super) fn shop() -> Profile {
    use Activity::{Disk, Gil, Lock, Network, Running, Sleep, Waiting};
    let database = || Network("10.0.0.5:5432".to_owned());
    const CART: &str = "thread flask/app.wsgi_app flask/app.dispatch_request cart";
    const ITEM: &str = "thread flask/app.wsgi_app flask/app.dispatch_request item";
    let stack_of = |view: &str, rest: &str| -> &'static str { format!("{view} {rest}").leak() };
    let mut profile = profile(&[
        Sample("GET /cart/*", CART, Running, 6, 55),
        Sample("GET /cart/*", stack_of(CART, "total"), Running, 31, 300),
        Sample("GET /cart/*", stack_of(CART, "total"), Gil, 14, 0),
        Sample(
            "GET /cart/*",
            stack_of(CART, "total round_up"),
            Running,
            8,
            80,
        ),
        Sample(
            "GET /cart/*",
            stack_of(CART, "items psycopg/cursor.execute"),
            database(),
            92,
            0,
        ),
        Sample(
            "GET /cart/*",
            stack_of(CART, "items psycopg/cursor.execute"),
            Running,
            3,
            20,
        ),
        Sample(
            "GET /items/*",
            stack_of(ITEM, "json.loads"),
            Running,
            21,
            210,
        ),
        Sample("GET /items/*", stack_of(ITEM, "stock"), Lock, 38, 0),
        Sample("GET /items/*", stack_of(ITEM, "photo"), Disk, 5, 0),
        Sample("POST /orders", stack_of(ITEM, "pay"), Sleep, 12, 0),
        Sample("POST /orders", stack_of(ITEM, "<lambda>"), Waiting, 2, 0),
        Sample("", "thread refresh_prices", Running, 4, 40),
        Sample("", "thread refresh_prices", Sleep, 96, 0),
    ]);
    let slow = stack(
        &mut profile.stacks,
        stack_of(CART, "items psycopg/cursor.execute"),
    );
    let hot = stack(&mut profile.stacks, stack_of(CART, "total"));
    profile.requests.push(RequestSamples {
        label: "GET /cart/17".to_owned(),
        request_id: "0af7651916cd43dd8448eb211c80319c".to_owned(),
        duration: Duration::from_millis(920),
        samples: vec![
            (slow, database(), weight(71, 0)),
            (hot, Running, weight(20, 190)),
        ],
    });
    profile
}
