//! Compression of responses: which are compressed.

/// See the module. The codings are those of the client, in the server's order: zstd, br, gzip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompressConfig {
    /// Whether responses are compressed.
    pub is_enabled: bool,
    /// Media types in lower case, without parameters; a `*` stands for any number of characters.
    pub types: Vec<String>,
    /// Bodies of fewer bytes are sent as they are.
    pub min_size: usize,
    /// Whether the length of compressed responses varies where it could reveal a secret (BREACH).
    pub jitter: bool,
}

/// Text, and formats that are text or that compress like it. Images, audio, video and archives are compressed already.
const DEFAULT_TYPES: [&str; 15] = [
    "text/*",
    "application/json",
    "application/*+json",
    "application/x-ndjson",
    "application/xml",
    "application/*+xml",
    "application/javascript",
    "application/x-javascript",
    "application/wasm",
    "application/vnd.ms-fontobject",
    "font/ttf",
    "font/otf",
    "image/svg+xml",
    "image/x-icon",
    "image/vnd.microsoft.icon",
];

impl Default for CompressConfig {
    fn default() -> Self {
        Self {
            is_enabled: false,
            types: DEFAULT_TYPES.map(str::to_owned).to_vec(),
            min_size: 1024,
            jitter: true,
        }
    }
}
