//! Settings: listen addresses.

use crate::BindAddress;
use crate::kind::Kind;
use crate::notation::{quoted, quoted_list};
use crate::raw_value::{ValueError, ValueReader};
use crate::setting::{Section, Setting, Shape};

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "bind",
        section: Section::Sockets,
        short: Some('b'),
        flags: &["bind"],
        shape: Shape::List,
        kind: Kind::Address,
        doc: "Address to listen on. May be given several times; in one text, addresses are separated by commas. \
              A host alone gets port 8000, `:PORT` is every IPv4 interface, `unix:@NAME` (or `unix-abstract:NAME`) is a \
              socket in Linux's abstract namespace, `fd://N` is a listening socket that was inherited. \
              `systemd:NAME` is the sockets that systemd passes under this name (`FileDescriptorName=`), `systemd` all \
              that no other address names. When nothing says where to bind and systemd has passed sockets, those are \
              used; when it has not and the variable PORT is set, the address is `0.0.0.0:$PORT`.",
        gunicorn: &["bind"],
        uwsgi: &["http", "http-socket", "http11-socket"],
        read: |builder, value| {
            builder.config.bind = addresses(value)?;
            Ok(())
        },
        show: |builder| quoted_list(&builder.config.bind),
    },
    Setting {
        name: "admin_bind",
        section: Section::Sockets,
        short: None,
        flags: &["admin-bind"],
        shape: Shape::Value,
        kind: Kind::AdminAddress,
        doc: "Address at which operators are answered. There are `/metrics` for Prometheus, `/healthz`, `/readyz` and \
              `/status`, also while every thread of every worker is in a call; `lockgate ctl` and `lockgate top` ask \
              there. What clients ask for can be read there, so that only a unix socket or a loopback address is taken, \
              also from systemd (`systemd:NAME`); `none` turns it off.",
        gunicorn: &[],
        uwsgi: &["stats", "stats-server", "stats-http"],
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
        doc: "How many connections may wait in the kernel to be accepted. \
              The kernel caps it silently at its own limit (net.core.somaxconn).",
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
        doc: "Allow another server to listen on the same addresses (SO_REUSEPORT). One version can so take over \
              from another. The workers of one server share its sockets either way.",
        gunicorn: &["reuse_port"],
        uwsgi: &["reuse-port"],
        read: |builder, value| {
            builder.config.reuse_port = value.switch()?;
            Ok(())
        },
        show: |builder| builder.config.reuse_port.to_string(),
    },
];

fn admin_address(text: &str) -> Result<Option<BindAddress>, ValueError> {
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
        Err("would let others read what clients ask for; take a unix socket (unix:/run/lockgate/admin.sock) or a \
             loopback address (127.0.0.1:9000), and a proxy with authentication in front of it for others"
            .into())
    }
}

fn addresses(value: ValueReader<'_>) -> Result<Vec<BindAddress>, ValueError> {
    let mut addresses: Vec<BindAddress> = Vec::new();
    for text in value.items(',')? {
        let refuse = |requirement: String| ValueError {
            piece: Some(quoted(&text)),
            requirement,
        };
        let address = BindAddress::parse(&text).map_err(refuse)?;
        // Port 0 is a different port each time.
        let may_repeat = matches!(address, BindAddress::Tcp { port: 0, .. });
        if !may_repeat && addresses.contains(&address) {
            return Err(refuse(
                "is given twice; an address can be bound once".to_owned(),
            ));
        }
        addresses.push(address);
    }
    if addresses.is_empty() {
        return Err("must name at least one address, such as 127.0.0.1:8000".into());
    }
    Ok(addresses)
}
