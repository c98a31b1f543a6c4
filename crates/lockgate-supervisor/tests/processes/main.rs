//! Tests with real processes: this program is the test runner, and run again with a behaviour it is the server under
//! test. Each check has its own server, which ends with the check.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr
)]

mod checks;
mod evaluation;
mod fork_server;
mod selection;
mod server;
mod server_under_test;

use std::process::ExitCode;

use selection::Selection;

fn main() -> ExitCode {
    if let Ok(behaviour) = std::env::var(server::BEHAVIOUR) {
        std::process::exit(server_under_test::serve(&behaviour));
    }
    let selection = match Selection::parse(std::env::args().skip(1)) {
        Ok(selection) => selection,
        Err(fault) => {
            eprintln!("error: {fault}");
            return ExitCode::from(2);
        }
    };
    let all = [
        checks::ALL,
        evaluation::ALL,
        fork_server::ALL,
        selection::ALL,
    ];
    let chosen = all
        .into_iter()
        .flatten()
        .filter(|(name, _)| selection.takes(name));
    let (mut passed, mut failed) = (0, Vec::new());
    for (name, check) in chosen {
        if selection.lists {
            println!("{name}: test");
            continue;
        }
        let is_ok = std::panic::catch_unwind(check).is_ok();
        println!("test {name} ... {}", if is_ok { "ok" } else { "FAILED" });
        if is_ok {
            passed += 1;
        } else {
            failed.push(*name);
        }
    }
    if selection.lists {
        return ExitCode::SUCCESS;
    }
    println!("{passed} passed, {} failed", failed.len());
    if passed == 0 && failed.is_empty() {
        eprintln!("error: no check is called so: a run that proves nothing is a failure");
        return ExitCode::from(101);
    }
    if !failed.is_empty() {
        println!("failed: {failed:?}");
        return ExitCode::from(101);
    }
    ExitCode::SUCCESS
}
