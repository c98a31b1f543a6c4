//! Settings: listen addresses.

use crate::kind::Kind;
use crate::notation::{quoted, quoted_list};
use crate::raw_value::{RawValue, ValueError, ValueReader};
use crate::setting::{Section, Setting, Shape};
use crate::{Bind, BindAddress};

use super::proxies::networks;

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "bind",
        section: Section::Sockets,
        short: Some('b'),
        flags: &["bind"],
        shape: Shape::List,
        kind: Kind::Address,
        doc: "Address to listen on. The flag may be repeated; in flags and variables, addresses are separated by \
              commas. A host without a port listens on port 8000. `:PORT` is every IPv4 interface, `unix:@NAME` (or \
              `unix-abstract:NAME`) a socket in Linux's abstract namespace, and `fd://N` an inherited listening \
              socket. TCP addresses speak TLS if `certfile`, `certificates` or `domain` is set, except on port 80; \
              `https://HOST:PORT` and `http://HOST:PORT` say which. \
              `uwsgi://` before any address makes it one of the uwsgi protocol, as in `uwsgi://unix:/run/app.sock`. `systemd:NAME` is the sockets that systemd passes under this name (`FileDescriptorName=`), and \
              `systemd` all passed sockets that no other address names. If `bind` is not set, sockets passed by \
              systemd are used; without them, and if the variable PORT is set, the address is `0.0.0.0:$PORT`. With `domain`, which is stronger than PORT, the addresses are \
              `https://[::]:443` and `http://[::]:80` then, or those of `localhost` if no other machine could reach \
              the domains.",
        gunicorn: &["bind"],
        uwsgi: &[
            "http",
            "http-socket",
            "http11-socket",
            "socket",
            "uwsgi-socket",
        ],
        read: |builder, value| {
            builder.config.bind = addresses(value)?;
            Ok(())
        },
        show: |builder| quoted_list(&builder.config.bind),
    },
    Setting {
        name: "protocol",
        section: Section::Sockets,
        short: None,
        flags: &["protocol"],
        shape: Shape::Value,
        kind: Kind::Word(&["http", "uwsgi"]),
        doc: "The protocol of addresses in `bind` that have no scheme. `uwsgi` is what nginx speaks with `uwsgi_pass` \
              and Apache with mod_proxy_uwsgi; it has no TLS. [Its page](../uwsgi-protocol.md) has the details.",
        gunicorn: &["protocol"],
        uwsgi: &["socket-protocol", "protocol"],
        read: |builder, value| {
            builder.config.uwsgi.protocol.is_default =
                match value.text()?.trim().to_ascii_lowercase().as_str() {
                    "http" => false,
                    "uwsgi" => true,
                    _ => return Err("must be http or uwsgi".into()),
                };
            Ok(())
        },
        show: |builder| {
            let is_uwsgi = builder.config.uwsgi.protocol.is_default;
            quoted(if is_uwsgi { "uwsgi" } else { "http" })
        },
    },
    Setting {
        name: "uwsgi_allow_ips",
        section: Section::Sockets,
        short: None,
        flags: &["uwsgi-allow-ips", "uwsgi-allow-from"],
        shape: Shape::List,
        kind: Kind::Network,
        doc: "Web servers that may connect where the uwsgi protocol is spoken. They name the client of each request, so \
              others are refused. Peers on a unix socket always may.",
        gunicorn: &["uwsgi_allow_ips"],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.uwsgi.protocol.peers = networks(value)?;
            Ok(())
        },
        show: |builder| quoted_list(builder.config.uwsgi.protocol.peers.texts()),
    },
    Setting {
        name: "admin_bind",
        section: Section::Sockets,
        short: None,
        flags: &["admin-bind"],
        shape: Shape::Value,
        kind: Kind::AdminAddress,
        doc: "Address of the admin listener. It serves `/metrics` for Prometheus, `/healthz`, `/readyz` and \
              `/status`, even while every thread of every worker is busy; `lockgate ctl` and `lockgate top` connect \
              to it. Its responses contain the paths of requests, so only a unix socket or a loopback address is \
              accepted, also from systemd (`systemd:NAME`). `none` disables it.",
        gunicorn: &[],
        uwsgi: &["stats-http"],
        read: |builder, value| {
            builder.config.admin_bind = admin_address(&value.text()?)?;
            Ok(())
        },
        show: |builder| match &builder.config.admin_bind {
            None => quoted("none"),
            Some(address) => quoted(&address.to_string()),
        },
    },
    Setting {
        name: "admin_actions",
        section: Section::Sockets,
        short: None,
        flags: &["admin-actions"],
        shape: Shape::Switch,
        kind: Kind::Switch,
        doc: "Allow the page of the admin listener to act, such as to reload. Its \
              buttons act for the user whom the browser runs as, who has to be root or the user of the server, as for \
              `lockgate ctl`; actions of pages of other origins are refused in any case. A change takes effect at the \
              next start.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.admin.page_may_act = value.switch()?;
            Ok(())
        },
        show: |builder| builder.config.admin.page_may_act.to_string(),
    },
    Setting {
        name: "admin_show",
        section: Section::Sockets,
        short: None,
        flags: &["admin-show"],
        shape: Shape::Value,
        kind: Kind::Word(&["paths", "targets"]),
        doc: "What the admin listener shows of request targets: `paths`, or `targets` with query strings. Commands that \
              ask it, such as `lockgate top` and `lockgate ctl stacks`, show the same. Query strings often contain tokens and personal data, and every \
              local user can read an admin listener on a TCP port. A change takes effect at the next start.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.admin.shows_queries = match value.text()?.trim() {
                "paths" => false,
                "targets" => true,
                _ => return Err("must be paths or targets".into()),
            };
            Ok(())
        },
        show: |builder| {
            quoted(match builder.config.admin.shows_queries {
                true => "targets",
                false => "paths",
            })
        },
    },
    Setting {
        name: "backlog",
        section: Section::Sockets,
        short: None,
        flags: &["backlog"],
        shape: Shape::Value,
        kind: Kind::Number {
            least: 1,
            most: 65_535,
            auto: false,
        },
        doc: "Maximum length of the kernel's queue of connections that wait to be accepted. The kernel silently \
              reduces it to its own limit (net.core.somaxconn).",
        gunicorn: &["backlog"],
        uwsgi: &["listen"],
        read: |builder, value| {
            builder.config.backlog = value.number()?;
            Ok(())
        },
        show: |builder| builder.config.backlog.to_string(),
    },
    Setting {
        name: "reuse_port",
        section: Section::Sockets,
        short: None,
        flags: &["reuse-port"],
        shape: Shape::Switch,
        kind: Kind::Switch,
        doc: "Allow another server to listen on the same addresses (SO_REUSEPORT). This makes it possible to start a \
              new version beside the old one. The workers of one server share its sockets in any case.",
        gunicorn: &["reuse_port"],
        uwsgi: &["reuse-port"],
        read: |builder, value| {
            builder.config.reuse_port = value.switch()?;
            Ok(())
        },
        show: |builder| builder.config.reuse_port.to_string(),
    },
];

pub(super) fn admin_address(text: &str) -> Result<Option<BindAddress>, ValueError> {
    if matches!(text, "" | "none" | "None") {
        return Ok(None);
    }
    let address = BindAddress::parse(text)?;
    let is_fit = match &address {
        // Its real address is known only once systemd has passed the socket.
        BindAddress::Systemd(Some(_)) => true,
        BindAddress::Systemd(None) => {
            return Err("needs the name of the socket, as in systemd:admin".into());
        }
        address => address.is_private(),
    };
    if is_fit {
        Ok(Some(address))
    } else {
        Err("would let others read the paths of requests; use a unix socket (unix:/run/lockgate/admin.sock) or a \
             loopback address (127.0.0.1:9000), and a proxy with authentication in front of it for others"
            .into())
    }
}

fn addresses(value: ValueReader<'_>) -> Result<Vec<Bind>, ValueError> {
    if let RawValue::Integer { value: port, .. } = value.raw {
        return Err(
            format!("must be text or a list of texts, such as \"127.0.0.1:{port}\"").into(),
        );
    }
    let mut addresses: Vec<Bind> = Vec::new();
    for text in value.items(',')? {
        let refuse = |requirement: String| ValueError {
            line: None,
            piece: Some(quoted(&text)),
            requirement,
        };
        let bind = Bind::parse(&text).map_err(refuse)?;
        // Port 0 is a different port each time.
        let may_repeat = matches!(bind.address, BindAddress::Tcp { port: 0, .. });
        let is_repeated = (addresses.iter()).any(|earlier| earlier.address == bind.address);
        if !may_repeat && is_repeated {
            return Err(refuse(
                "is listed twice; an address can be bound only once".to_owned(),
            ));
        }
        addresses.push(bind);
    }
    if addresses.is_empty() {
        return Err("must contain at least one address, such as 127.0.0.1:8000".into());
    }
    Ok(addresses)
}
