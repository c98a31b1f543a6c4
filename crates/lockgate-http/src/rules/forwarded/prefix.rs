//! The application's mount point, as a trusted proxy forwards it: `X-Forwarded-Prefix` or `SCRIPT_NAME`.

use crate::error::Refusal;
use crate::request::RequestHead;
use crate::rules::target::decode_path;
use crate::span::Span;

/// An allowed `SCRIPT_NAME` header takes precedence over a prefix.
pub(super) fn set_prefix(head: &mut RequestHead, prefix: Span) -> Result<(), Refusal> {
    let path = without_slashes(&head.bytes, prefix);
    if !is_prefix(path.of(&head.bytes)) {
        head.set_faulty_field(prefix);
        return Err(Refusal::InvalidForwardedPrefix);
    }
    if head.summary.script_name == Span::default() {
        head.summary.script_name = path;
    }
    Ok(())
}

/// The path without trailing slashes: `/shop/` and `/shop` are one mount, and `/` is none.
fn without_slashes(bytes: &[u8], path: Span) -> Span {
    let slashes = path
        .of(bytes)
        .iter()
        .rev()
        .take_while(|&&byte| byte == b'/');
    Span::new(path.start as usize, path.end as usize - slashes.count())
}

/// Whether links may begin with it. `//host`, and `/\host`, which browsers read the same, would lead to another site.
fn is_prefix(path: &[u8]) -> bool {
    let mut decoded = Vec::new();
    decode_path(path, &mut decoded);
    let is_plain = |byte: &u8| !byte.is_ascii_control() && !b"?#\\".contains(byte);
    match &decoded[..] {
        [] => true,
        [b'/', b'/', ..] => false,
        [b'/', ..] => decoded.iter().all(is_plain),
        _ => false,
    }
}

/// `SCRIPT_NAME` must be a prefix of the path, up to a slash or the path's end.
pub(super) fn set_script_name(head: &mut RequestHead, value: Span) -> Result<(), Refusal> {
    let script_name = without_slashes(&head.bytes, value);
    match head.path().strip_prefix(script_name.of(&head.bytes)) {
        Some([] | [b'/', ..]) => {
            head.summary.script_name = script_name;
            Ok(())
        }
        _ => {
            head.set_faulty_field(value);
            Err(Refusal::PathOutsideScriptName)
        }
    }
}
