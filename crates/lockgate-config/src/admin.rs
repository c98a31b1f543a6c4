//! The admin listener: what it shows of requests, and what its page may do.

/// The configuration of the admin listener, without its address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AdminConfig {
    /// Whether the page of the listener may send actions.
    pub page_may_act: bool,
    /// Whether targets of requests are shown with their query strings.
    pub shows_queries: bool,
}
