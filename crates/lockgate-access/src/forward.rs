//! Asking another service whether a request may pass (forward authentication, as by Caddy, Traefik and nginx's
//! auth_request): what it is asked, and what its response means.

pub(crate) mod answer;
pub(crate) mod copied;
pub(crate) mod question;
