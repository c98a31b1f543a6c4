//! PEM files (RFC 7468): the blocks of a file with their labels.

use x509_parser::pem::Pem;

/// What a file has instead of readable PEM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It looks like DER.
    Binary,
    /// This block, counted from 1, cannot be decoded.
    Block(usize),
}

/// All blocks of a file, in order; text outside blocks is skipped.
pub(crate) fn blocks(file: &[u8]) -> Result<Vec<Pem>, Unreadable> {
    let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    // DER begins with a SEQUENCE, and is no text.
    if file.first() == Some(&0x30) && std::str::from_utf8(file).is_err() {
        return Err(Unreadable::Binary);
    }
    let mut blocks = Vec::new();
    for block in Pem::iter_from_buffer(file) {
        blocks.push(block.map_err(|_| Unreadable::Block(blocks.len() + 1))?);
    }
    Ok(blocks)
}

/// The labels of some blocks.
pub(crate) fn labels(blocks: &[Pem]) -> Vec<String> {
    blocks.iter().map(|block| block.label.clone()).collect()
}

/// One block.
pub(crate) fn encode(label: &str, der: &[u8]) -> String {
    let base64 = data_encoding::BASE64.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII, so any index is a boundary of characters.
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}
