//! uWSGI's one-letter commands, and what they mean here.

use lockgate_observe::{Scoreboard, WorkerView};

use crate::supervisor::Request;

/// A command that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// A request to the supervisor, with its letter.
    Request(Request, char),
    /// The state of the workers, for the log.
    Status,
    /// A command of uWSGI that Lockgate does not have, and why.
    Refused(char, &'static str),
    /// This many bytes are no command of uWSGI's.
    Unknown(usize),
}

/// The commands in these bytes. A command that is repeated counts once, as repeated signals do, unless it changes the
/// number of workers.
pub(super) fn decode(bytes: &[u8]) -> Vec<Command> {
    let mut commands: Vec<Command> = Vec::new();
    let mut unknown = 0;
    for &byte in bytes.iter().filter(|byte| !byte.is_ascii_whitespace()) {
        let Some(command) = command(byte) else {
            unknown += 1;
            continue;
        };
        let is_counted = matches!(
            command,
            Command::Request(Request::MoreWorkers | Request::FewerWorkers, _)
        );
        if is_counted || !commands.contains(&command) {
            commands.push(command);
        }
    }
    if unknown > 0 {
        commands.push(Command::Unknown(unknown));
    }
    commands
}

/// The command of this letter (uWSGI's core/fifo.c).
fn command(letter: u8) -> Option<Command> {
    let letter = char::from(letter);
    let request = |request| Command::Request(request, letter);
    let refused = |reason| Command::Refused(letter, reason);
    Some(match letter {
        // A reload always starts the new workers first, and the old ones finish their requests.
        'r' | 'R' | 'w' | 'W' | 'c' => request(Request::Reload),
        'q' => request(Request::Terminate),
        'Q' => request(Request::Quit),
        '+' => request(Request::MoreWorkers),
        '-' => request(Request::FewerWorkers),
        'l' => request(Request::ReopenLogs),
        'f' => request(Request::Upgrade),
        's' => Command::Status,
        'L' => refused("move the log files, then write l, which reopens them"),
        'p' => refused(
            "workers are not suspended; stop the server, or take it out of the load balancer",
        ),
        'P' => refused("the pid file always has the pid of the supervisor"),
        'C' => refused("the number of workers changes only with + and -"),
        'B' | 'E' => refused("there is no Emperor; run one server for each application"),
        'S' => refused("the server subscribes to no other"),
        '0'..='9' => refused("all FIFOs of master_fifo are read at the same time"),
        _ => return None,
    })
}

/// The state of the workers in lines for the log.
pub(super) fn status_lines(scoreboard: Option<Scoreboard>) -> Vec<String> {
    let workers: Vec<WorkerView> = scoreboard
        .into_iter()
        .flat_map(Scoreboard::workers)
        .collect();
    let total: u64 = workers.iter().map(|worker| worker.totals.responses()).sum();
    let mut lines = vec![format!(
        "status: {} workers, {total} requests",
        workers.len()
    )];
    lines.extend(workers.iter().map(|worker| {
        format!(
            "status: worker {} (pid {}): {}, {} requests, {} in progress, {} waiting, {} connections",
            worker.slot,
            worker.pid,
            worker.state.name(),
            worker.totals.responses(),
            worker.busy(),
            worker.waiting,
            worker.connections
        )
    }));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_of_uwsgi_is_done_or_refused() {
        for letter in b"0123456789+-BCELPQRSWcflpqrsw" {
            let commands = decode(&[*letter]);
            let is_known = !matches!(commands[..], [Command::Unknown(_)]);
            assert!(is_known && commands.len() == 1, "{}", char::from(*letter));
        }
        for (letter, request) in [
            ('r', Request::Reload),
            ('c', Request::Reload),
            ('q', Request::Terminate),
            ('Q', Request::Quit),
            ('+', Request::MoreWorkers),
            ('-', Request::FewerWorkers),
            ('l', Request::ReopenLogs),
            ('f', Request::Upgrade),
        ] {
            let found = decode(letter.to_string().as_bytes());
            assert_eq!(found, [Command::Request(request, letter)]);
        }
    }

    #[test]
    fn repeated_commands_count_once_and_bytes_that_are_none_are_counted() {
        let more = Command::Request(Request::MoreWorkers, '+');
        let reload = Command::Request(Request::Reload, 'r');
        assert_eq!(decode(b"r\nr\n+ +\n"), [reload, more, more]);
        assert_eq!(decode(b"\n \r\n"), []);
        assert_eq!(
            decode(b"xxx\0\xffs"),
            [Command::Status, Command::Unknown(5)]
        );
    }

    #[test]
    fn a_server_without_a_scoreboard_has_a_status() {
        assert_eq!(status_lines(None), ["status: 0 workers, 0 requests"]);
    }
}
