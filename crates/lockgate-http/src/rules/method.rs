//! Methods: which are refused (RFC 9110 §9).

use crate::error::Refusal;
use crate::limits::Limits;
use crate::rules::grammar::is_token;

/// Whether `name` is a method at all: a token that is not too long.
pub(crate) fn check_method_name(name: &[u8]) -> Result<(), Refusal> {
    let limit = Limits::METHOD;
    if !is_token(&name[..name.len().min(limit + 1)]) {
        return Err(Refusal::InvalidMethod);
    }
    if name.len() > limit {
        return Err(Refusal::MethodTooLong { limit });
    }
    Ok(())
}

/// Whether the server supports `method`: tunnels and echoes are not supported.
#[inline]
pub(crate) fn check_method(method: &[u8]) -> Result<(), Refusal> {
    if method == b"CONNECT" || method == b"TRACE" {
        return Err(Refusal::MethodNotImplemented);
    }
    Ok(())
}
