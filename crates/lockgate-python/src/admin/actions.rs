//! Operators' actions on the admin listener: `POST /actions/reload` and its siblings.
//!
//! Two checks. A page in a browser must not act for the operator who views it: it cannot send the required header
//! without a preflight request (Fetch, CORS-preflight), which is never allowed here. The listener's own page may, with
//! `admin_actions` ([`Sender`]). And only root and the supervisor's user may act, by the peer credentials of the kernel:
//! the same users could send the supervisor a signal.

use std::fmt;
use std::sync::Arc;

use lockgate_observe::{Level, Maintenance, Scoreboard};
use lockgate_supervisor::{OperatorRequests, Request as Order, peer_user};
use lockgate_worker::log::ErrorLog;
use lockgate_worker::{Reply, Request};

use super::answer::{Answer, JSON, VERSION};
use super::origin::Sender;

/// The path prefix of actions.
pub(super) const PREFIX: &[u8] = b"/actions/";
/// The required header; its value is ignored.
const HEADER: &str = "Lockgate-Action";

/// See the module.
pub(super) struct Actions {
    pub(super) requests: OperatorRequests,
    pub(super) log: Arc<ErrorLog>,
    /// The process id of the supervisor.
    pub(super) supervisor: u64,
    /// Has the switch for maintenance.
    pub(super) scoreboard: Scoreboard,
    /// Whether the listener's page may act: the setting `admin_actions`.
    pub(super) page_may_act: bool,
}

/// One action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// The supervisor is asked, perhaps several times.
    Order(Order, u32),
    /// The workers read the switch.
    Maintenance(Maintenance),
}

/// Why an action is refused.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    NotPost,
    Unknown,
    WithoutHeader,
    FromPage,
    BadChange,
    BadState,
    UnknownUser(String),
    NotAllowed { user: u32, owner: u32 },
    NotTaken(String),
}

impl Actions {
    pub(super) fn answer(&self, request: &Request, sender: Sender, reply: &mut Reply) -> Answer {
        match self.act(request, sender, reply) {
            Ok(action) => Answer {
                status: (202, "Accepted"),
                ..Answer::ok(JSON, self.receipt(action).into())
            },
            Err(refused) => refused.into(),
        }
    }

    fn act(&self, request: &Request, sender: Sender, reply: &mut Reply) -> Result<Action, Refused> {
        let head = &request.head;
        let name = head.path().strip_prefix(PREFIX).unwrap_or_default();
        let action = read(head.method(), name, head.query())?;
        if !sender.may_act(self.page_may_act) {
            return Err(Refused::FromPage);
        }
        if head.header(HEADER).is_none() {
            return Err(Refused::WithoutHeader);
        }
        let unknown = |error: &dyn fmt::Display| Refused::UnknownUser(error.to_string());
        let socket = reply.socket().ok_or_else(|| unknown(&"no socket"))?;
        let user = peer_user(socket).map_err(|error| unknown(&error))?;
        if !self.requests.may_request(user) {
            let owner = self.requests.owner();
            let name = String::from_utf8_lossy(name).into_owned();
            let message = format!("admin: user {user} may not ask for {name}: refused");
            self.log.write(Level::Warning, &message);
            return Err(Refused::NotAllowed { user, owner });
        }
        match action {
            Action::Order(order, times) => (self.requests.send(order, times))
                .map_err(|error| Refused::NotTaken(error.to_string()))?,
            Action::Maintenance(maintenance) => self.scoreboard.set_maintenance(maintenance),
        }
        let message = format!("admin: user {user} asks for {action}");
        self.log.write(Level::Info, &message);
        Ok(action)
    }

    fn receipt(&self, action: Action) -> String {
        let supervisor = self.supervisor;
        format!(
            "{{\"name\":\"lockgate\",\"version\":\"{VERSION}\",\"pid\":{supervisor},\"action\":\"{action}\"}}\n"
        )
    }
}

/// Parses an action.
fn read(method: &[u8], name: &[u8], query: &[u8]) -> Result<Action, Refused> {
    let once = |order| Action::Order(order, 1);
    let action = match name {
        b"reload" => once(Order::Reload),
        b"upgrade" => once(Order::Upgrade),
        b"reopen" => once(Order::ReopenLogs),
        b"shutdown" => once(Order::Terminate),
        b"maintenance" => read_state(query).ok_or(Refused::BadState)?,
        b"workers" => read_change(query).ok_or(Refused::BadChange)?,
        _ => return Err(Refused::Unknown),
    };
    if method != b"POST" {
        return Err(Refused::NotPost);
    }
    Ok(action)
}

/// `change=2` or `change=-1`.
fn read_change(query: &[u8]) -> Option<Action> {
    const MOST: u32 = 256;
    let number = std::str::from_utf8(query.strip_prefix(b"change=")?).ok()?;
    let change: i32 = number.parse().ok()?;
    let order = match change {
        ..0 => Order::FewerWorkers,
        _ => Order::MoreWorkers,
    };
    let times = change.unsigned_abs();
    (1..=MOST)
        .contains(&times)
        .then_some(Action::Order(order, times))
}

/// `state=on`, `state=off`, or `state=auto` for what the settings say.
fn read_state(query: &[u8]) -> Option<Action> {
    let state = match query.strip_prefix(b"state=")? {
        b"on" => Maintenance::On,
        b"off" => Maintenance::Off,
        b"auto" => Maintenance::AsConfigured,
        _ => return None,
    };
    Some(Action::Maintenance(state))
}

impl fmt::Display for Action {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (order, times) = match self {
            Self::Order(order, times) => (order, times),
            Self::Maintenance(Maintenance::On) => return out.write_str("maintenance on"),
            Self::Maintenance(Maintenance::Off) => return out.write_str("maintenance off"),
            Self::Maintenance(Maintenance::AsConfigured) => {
                return out.write_str("maintenance auto");
            }
        };
        match order {
            Order::Reload => out.write_str("reload"),
            Order::Upgrade => out.write_str("upgrade"),
            Order::ReopenLogs => out.write_str("reopen"),
            Order::MoreWorkers => write!(out, "workers +{times}"),
            Order::FewerWorkers => write!(out, "workers -{times}"),
            Order::Terminate | Order::Interrupt | Order::Quit => out.write_str("shutdown"),
            Order::WindowChange => out.write_str("nothing"),
        }
    }
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Self {
        let (status, reason) = match refused {
            Refused::NotPost => (405, "Method Not Allowed"),
            Refused::Unknown => (404, "Not Found"),
            Refused::WithoutHeader | Refused::BadChange | Refused::BadState => (400, "Bad Request"),
            Refused::FromPage | Refused::UnknownUser(_) | Refused::NotAllowed { .. } => {
                (403, "Forbidden")
            }
            Refused::NotTaken(_) => (503, "Service Unavailable"),
        };
        let text = match &refused {
            Refused::NotPost => "an action needs POST\n".to_owned(),
            Refused::Unknown => {
                "there are /actions/reload, upgrade, reopen, shutdown, workers?change=N and maintenance?state=on\n".to_owned()
            }
            Refused::WithoutHeader => format!("an action needs the header {HEADER}, with any value\n"),
            Refused::BadChange => {
                "change must be a number from 1 to 256, or from -256 to -1, as in workers?change=-1\n".to_owned()
            }
            Refused::BadState => {
                "state must be on, off or auto, as in maintenance?state=on\n".to_owned()
            }
            Refused::FromPage => {
                "a page in a browser may not act: with admin_actions = true this page may, and no other\n".to_owned()
            }
            Refused::UnknownUser(error) => format!(
                "the system does not say which user asks ({error}): send the supervisor a signal instead, or ask over a unix socket\n"
            ),
            Refused::NotAllowed { user, owner } => format!(
                "user {user} may not do this: root and user {owner}, whom the server runs as, may\n"
            ),
            Refused::NotTaken(error) => {
                format!("the supervisor does not take it now ({error}): try again\n")
            }
        };
        Self {
            allow: if status == 405 { "POST" } else { "" },
            ..Self::text(status, reason, &text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: &str, target: &str) -> Result<(Order, u32), Refused> {
        let (name, query) = target.split_once('?').unwrap_or((target, ""));
        read(method.as_bytes(), name.as_bytes(), query.as_bytes()).map(|action| match action {
            Action::Order(order, times) => (order, times),
            other => panic!("{other}"),
        })
    }

    #[test]
    fn an_action_is_a_post() {
        for (name, order) in [
            ("reload", Order::Reload),
            ("upgrade", Order::Upgrade),
            ("reopen", Order::ReopenLogs),
            ("shutdown", Order::Terminate),
        ] {
            assert_eq!(ask("POST", name), Ok((order, 1)));
            for method in ["GET", "HEAD", "OPTIONS", "PUT", "post"] {
                assert_eq!(ask(method, name), Err(Refused::NotPost), "{method}");
            }
        }
        for name in ["", "kill", "reload/", "Reload", "../reload"] {
            assert_eq!(ask("POST", name), Err(Refused::Unknown), "{name}");
        }
    }

    #[test]
    fn workers_change_by_a_number_within_bounds() {
        for (number, wanted) in [
            ("1", Some((Order::MoreWorkers, 1))),
            ("256", Some((Order::MoreWorkers, 256))),
            ("-1", Some((Order::FewerWorkers, 1))),
            ("-256", Some((Order::FewerWorkers, 256))),
            ("0", None),
            ("257", None),
            ("-257", None),
            ("-2147483648", None),
            ("99999999999", None),
            ("1x", None),
            ("", None),
        ] {
            let found = ask("POST", &format!("workers?change={number}"));
            assert_eq!(found, wanted.ok_or(Refused::BadChange), "{number}");
        }
        assert_eq!(ask("POST", "workers"), Err(Refused::BadChange));
    }

    #[test]
    fn maintenance_has_three_states() {
        for (query, expected) in [
            ("state=on", Some("maintenance on")),
            ("state=off", Some("maintenance off")),
            ("state=auto", Some("maintenance auto")),
            ("state=", None),
            ("state=ON", None),
            ("on", None),
            ("", None),
        ] {
            let action = read(b"POST", b"maintenance", query.as_bytes());
            let found = action.map(|action| action.to_string());
            assert_eq!(found.ok().as_deref(), expected, "{query}");
        }
    }
}
