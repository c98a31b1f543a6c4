//! The settings of Lockgate, each declared once. The caller passes the arguments, the variables, the text of the file
//! and the facts about the host.
//!
//! The table in [`settings()`] is the only list: flags, file keys, variables, help, `--print-config` and the reference
//! page are derived from it. Every value keeps its origin.
#![forbid(unsafe_code)]

mod config;
pub use config::{
    Collection, Config, ForwardedHeaders, LimitsConfig, LogLevel, LogTarget, ProxiesConfig,
    ProxyVersion, Threads,
};

mod application;
pub use application::{AppSpec, Attribute};

mod bind;
pub use bind::BindAddress;

mod network;
pub use network::Networks;

mod host;
mod log_style;
pub use host::Host;

mod memory;
pub use log_style::{ErrorLogFormat, LogStyle, LogTimezone};
pub use memory::{MemoryMeasure, percent_words};

mod setting;
pub use setting::{Kind, Section, Setting, Shape};

mod settings;
pub use settings::settings;

mod raw_value;

mod resolve;
pub use resolve::{Invocation, Resolved, admin_address, config_path, resolve};

mod origin;
pub use origin::{Origin, Origins};

mod error;
pub use error::ConfigError;

mod command_line;
mod environment;
mod file;

mod suggestions;
mod unsupported;

mod reference;
pub use reference::reference_page;

#[cfg(test)]
mod tests;
