//! Settings: applications, redirects and rules by host and path.

use super::fields;
use super::maintenance::{maintenance, maintenance_text};
use super::redirects::{redirects, redirects_text, rewrites, rewrites_text};
use super::route_tables::{mounts, routes, texts};
use crate::kind::Kind;
use crate::setting::{Section, Setting, Shape};

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "mount",
        section: Section::Routes,
        short: None,
        flags: &[],
        shape: Shape::Tables,
        kind: Kind::Special {
            placeholder: "TABLE",
            accepts: "table with `path` and `host` (one of them at least), `app`, `chdir`, `env`, `session`, and the rules of a `[[route]]`",
        },
        doc: "Further applications, by path and host. The longest path wins. It becomes SCRIPT_NAME, and the rest of \
              the path PATH_INFO. `host` is a name, or `*.shop.example` for all names below it. `chdir` is the working \
              directory while the application is imported, and is searched for its modules. `env` are variables while \
              it is imported, and values in the environ of its requests. `session = false` leaves it without those of \
              `session`. All applications run in the same workers and are reloaded together.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            let mounts = mounts(value)?;
            let all = &mut builder.config.routes.routes;
            all.retain(|route| route.mount.is_none());
            all.extend(mounts);
            Ok(())
        },
        show: |builder| {
            let all = builder.config.routes.routes.iter();
            texts(all.filter(|route| route.mount.is_some()))
        },
    },
    Setting {
        name: "route",
        section: Section::Routes,
        short: None,
        flags: &[],
        shape: Shape::Tables,
        kind: Kind::Special {
            placeholder: "TABLE",
            accepts: "table with `path` and `host` (one of them at least), and rules: `allow`, `deny`, `basic_auth`, `forward_auth`, `client_certificate`, `request_headers`, `response_headers`, `error_pages`, `max_body`, `request_timeout`, `queue_timeout`, `threads`, `priority`",
        },
        doc: "Rules for the requests of a path and what is below it, or of a host. Of several routes that match, the \
              one with the exact host and then the longest path counts; a rule that it does not set is inherited from \
              the route around it, and at last from the server. Paths are compared as applications see them, and for \
              access and limits without regard to case. `max_body` takes the place of `limit_request_body`. `threads` \
              is the number or share of threads that its requests may occupy, so that slow ones leave room for others. \
              `priority` is `low`, `normal` or `high`: which requests that wait are taken first.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            let routes = routes(value)?;
            let all = &mut builder.config.routes.routes;
            all.retain(|route| route.mount.is_some());
            all.extend(routes);
            Ok(())
        },
        show: |builder| {
            let all = builder.config.routes.routes.iter();
            texts(all.filter(|route| route.mount.is_none()))
        },
    },
    Setting {
        name: "redirect",
        section: Section::Routes,
        short: None,
        flags: &[],
        shape: Shape::Tables,
        kind: Kind::Special {
            placeholder: "TABLE",
            accepts: "table with `from`, `to` and `status` (301, 302, 303, 307 or 308)",
        },
        doc: "Requests that the server redirects. `from` is a host, a path, or both, as in `www.shop.example/old`; a \
              path that ends in `/*` is for everything below it. `to` is a URL or a path; its `*` stands for what the \
              one of `from` has matched. If `from` is a host and `to` a URL without a path, the path of the request \
              follows. The query follows, unless `to` has one. The status is 308 by default: permanent, and the method \
              stays. The first redirect that matches counts.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.routes.redirects = redirects(value)?;
            Ok(())
        },
        show: |builder| redirects_text(&builder.config.routes.redirects),
    },
    Setting {
        name: "rewrite",
        section: Section::Routes,
        short: None,
        flags: &[],
        shape: Shape::Tables,
        kind: Kind::Special {
            placeholder: "TABLE",
            accepts: "table with `from` and `to`",
        },
        doc: "Requests that the server takes for those of another path. `from` is as in `[[redirect]]`, with a path. `to` \
              is a path, perhaps with a query, which the query of the request follows. Routes and the application see the new path; REQUEST_URI \
              stays as the client has sent it. The first rewrite that matches counts, and the result is not rewritten \
              again.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.routes.rewrites = rewrites(value)?;
            Ok(())
        },
        show: |builder| rewrites_text(&builder.config.routes.rewrites),
    },
    Setting {
        name: "request_headers",
        section: Section::Routes,
        short: None,
        flags: &["request-headers"],
        shape: Shape::List,
        kind: HEADERS,
        doc: "Headers that the server sets in each request before the application sees it. `false` removes one. Those of \
              a `[[route]]` are applied after those around it. In flags an empty value removes the header; in the \
              variable line feeds separate them.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.routes.server.request_headers = fields::request(value.raw)?;
            Ok(())
        },
        show: |builder| fields::edits_text(&builder.config.routes.server.request_headers),
    },
    Setting {
        name: "response_headers",
        section: Section::Routes,
        short: None,
        flags: &["response-headers"],
        shape: Shape::List,
        kind: HEADERS,
        doc: "Headers that the server sets in each response, also in those of its own. `false` removes one. Those of a \
              `[[route]]` are applied after those around it. In flags an empty value removes the header; in the \
              variable line feeds separate them.",
        gunicorn: &[],
        uwsgi: &["add-header"],
        read: |builder, value| {
            builder.config.routes.server.response_headers = fields::response(value.raw)?;
            Ok(())
        },
        show: |builder| fields::edits_text(&builder.config.routes.server.response_headers),
    },
    Setting {
        name: "error_pages",
        section: Section::Routes,
        short: None,
        flags: &["error-pages"],
        shape: Shape::List,
        kind: Kind::Special {
            placeholder: "STATUS=FILE",
            accepts: "`STATUS=FILE`, or in the file a table such as `{ 503 = \"errors/503.html\" }`",
        },
        doc: "Files with the bodies of the server's own error responses, by status (400 to 599). Responses of the \
              application are not changed. A file has at most 1 MiB; its name decides about its \
              Content-Type. In the variable line feeds separate them.",
        gunicorn: &[],
        uwsgi: &["error-page-403", "error-page-404", "error-page-500"],
        read: |builder, value| {
            builder.config.routes.server.error_pages = fields::error_pages(value.raw)?;
            Ok(())
        },
        show: |builder| fields::pages_text(&builder.config.routes.server.error_pages),
    },
    Setting {
        name: "maintenance",
        section: Section::Routes,
        short: None,
        flags: &["maintenance"],
        shape: Shape::Switch,
        kind: Kind::Special {
            placeholder: "BOOL",
            accepts: "`true` or `false`, or in the file a table `{ on = …, allow = […], paths = […], retry_after = … }`",
        },
        doc: "Whether the server starts in maintenance: requests get 503 with Retry-After. `lockgate ctl maintenance on` \
              and `off` switch it later. `allow` has addresses and `paths` has paths that are served meanwhile; \
              `retry_after` is when clients may come again (5 minutes). A table is off unless it has `on = true`.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.routes.maintenance = maintenance(value.raw)?;
            Ok(())
        },
        show: |builder| maintenance_text(&builder.config.routes.maintenance),
    },
];

const HEADERS: Kind = Kind::Special {
    placeholder: "NAME=VALUE",
    accepts: "`NAME=VALUE`, or in the file a table such as `{ \"X-Frame-Options\" = \"DENY\", \"X-Debug\" = false }`",
};
