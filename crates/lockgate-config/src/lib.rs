//! The settings of Lockgate, each declared once. The caller passes the arguments, the variables, the text of the file
//! and the facts about the host.
//!
//! The table in [`settings()`] is the only list: flags, file keys, variables, help, `--print-config` and the reference
//! page are derived from it. Every value keeps its origin.
#![forbid(unsafe_code)]

mod notation;

mod host;
pub use host::{Gil, Host};

mod memory;
pub use memory::{MemoryMeasure, percent_words};

mod application;
pub use application::{AppSpec, Attribute};

mod bind;
pub use bind::BindAddress;

mod listener;
pub use listener::{Bind, Endpoint, HTTPS_PORT, Scheme};

mod network;
pub use network::Networks;

mod limits;
pub use limits::LimitsConfig;

mod routes;
pub use routes::{
    AddressRule, FieldEdit, HostPattern, MaintenanceConfig, MountedApp, PathPattern, Priority,
    RedirectConfig, RewriteConfig, RouteConfig, RouteRules, RoutesConfig, Target, ThreadShare,
};

mod access;
pub use access::{BasicAuth, CertificateRule, ForwardAuthConfig, ForwardAuthUrl, ServiceAddress};

mod rate_limit;
pub use rate_limit::{Rate, RateKey, RateLimitConfig, RateLimitsConfig};

mod reload;
pub use reload::ReloadConfig;

mod identity;
pub use identity::{IdentityConfig, OtlpConfig, OtlpSignal};

mod session;
pub use session::{
    RedisUrl, SameSite, SecretSource, SessionConfig, SessionCookie, SessionSecret, SessionStore,
};

mod proxies;
pub use proxies::{ForwardedHeaders, ProxiesConfig, ProxyVersion};

mod log_style;
pub use log_style::{ErrorLogFormat, LogStyle, LogTimezone, LogWording};
pub use statsd::{StatsdAddress, StatsdConfig};

mod admin;
pub use admin::AdminConfig;

mod tls;
pub use tls::{
    CertificateFiles, ClientCertificateUser, ClientCertificates, HttpsRedirect, TlsConfig,
    TlsVersion,
};

mod acme;
pub use acme::AcmeConfig;

mod http2;
pub use http2::Http2Config;

mod redis_address;
pub use redis_address::RedisAddress;

mod static_files;
pub use static_files::{StaticConfig, StaticMount, StaticSources};

mod compress;
pub use compress::CompressConfig;

mod cache;
pub use cache::CacheConfig;

mod push;
pub use push::{GripKey, PushConfig};

mod uwsgi;
pub use uwsgi::{UwsgiCacheConfig, UwsgiConfig, WhenFull};

mod uwsgi_protocol;
pub use uwsgi_protocol::UwsgiProtocolConfig;
mod gunicorn;
pub use gunicorn::{ConfSource, GunicornConfig, HookName, WorkerClass};
pub use gunicorn::{cfg::cfg, page::gunicorn_page};

mod config;
pub use config::{Collection, Config, LogLevel, LogTarget, Threads};

mod kind;
pub use kind::Kind;

mod raw_value;

mod builder;

mod setting;
pub use setting::{Section, Setting, Shape};

mod settings;
pub use settings::settings;

mod origin;
pub use origin::{Origin, Origins};

mod error;
pub use error::ConfigError;

mod statsd;
mod suggestions;
mod unsupported;

mod unusable;
pub use unusable::UnusableValue;

mod assignment;
mod environment;
mod file;

mod inputs;
pub use inputs::{ConfSpec, Inputs, SettingsFile};

mod invocation;
pub use invocation::Invocation;

mod commands;
pub use commands::{COMMANDS, Command};

mod command_line;
pub use command_line::{Control, controls};

mod sources;

mod https;
mod route_checks;

mod embedded;

mod resolve;
pub use resolve::{Resolved, admin_address, config_path, resolve};

mod reference;
pub use reference::reference_page;

#[cfg(test)]
mod tests;
