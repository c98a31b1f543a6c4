//! Media types of files, by the ends of their names.

/// Types that differ from the general table: those of current specifications, and those with a charset.
const OWN: &[(&str, &str)] = &[
    ("avif", "image/avif"),
    ("cjs", "text/javascript; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("geojson", "application/geo+json"),
    ("gz", "application/gzip"),
    ("htm", "text/html; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/vnd.microsoft.icon"),
    ("ics", "text/calendar; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("jsonld", "application/ld+json"),
    ("m4a", "audio/mp4"),
    ("map", "application/json"),
    ("md", "text/markdown; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("otf", "font/otf"),
    ("rss", "application/rss+xml"),
    ("svg", "image/svg+xml"),
    ("tgz", "application/gzip"),
    ("ttf", "font/ttf"),
    ("txt", "text/plain; charset=utf-8"),
    ("vtt", "text/vtt; charset=utf-8"),
    ("wasm", "application/wasm"),
    ("webmanifest", "application/manifest+json"),
    ("webp", "image/webp"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("xml", "application/xml"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("zst", "application/zstd"),
];

/// What is not known.
const UNKNOWN: &str = "application/octet-stream";

/// The value of Content-Type for a file of this name. Text is UTF-8.
pub fn media_type(name: &str) -> String {
    let Some((_, extension)) = name.rsplit_once('.') else {
        return UNKNOWN.to_owned();
    };
    let extension = extension.to_ascii_lowercase();
    if let Ok(index) = OWN.binary_search_by(|(end, _)| (*end).cmp(&extension)) {
        return OWN[index].1.to_owned();
    }
    match mime_guess::from_ext(&extension).first_raw() {
        Some(text) if text.starts_with("text/") => format!("{text}; charset=utf-8"),
        Some(known) => known.to_owned(),
        None => UNKNOWN.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(OWN.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn names_have_their_media_types() {
        for (name, expected) in [
            ("a.html", "text/html; charset=utf-8"),
            ("a.HTML", "text/html; charset=utf-8"),
            ("a.css", "text/css; charset=utf-8"),
            ("a.min.js", "text/javascript; charset=utf-8"),
            ("a.js.map", "application/json"),
            ("a.png", "image/png"),
            ("a.jpeg", "image/jpeg"),
            ("a.svg", "image/svg+xml"),
            ("a.mp4", "video/mp4"),
            ("a.pdf", "application/pdf"),
            ("a.tar.gz", "application/gzip"),
            ("a.py", "text/plain; charset=utf-8"),
            ("a.log", "text/plain; charset=utf-8"),
            ("a.zip", "application/zip"),
            ("a.unknown-end", "application/octet-stream"),
            ("README", "application/octet-stream"),
            ("a.", "application/octet-stream"),
        ] {
            assert_eq!(media_type(name), expected, "{name}");
        }
    }
}
