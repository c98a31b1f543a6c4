//! Text of an application, written so that it cannot end or change what is around it.
//!
//! Names of functions, files and paths come from the application and its clients: any character may be in them.

use std::fmt::Write;

/// Appends a JSON string with its quotes, in ASCII.
pub(super) fn json(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                out.push('\\');
                out.push(character);
            }
            ' '..='~' => out.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    // Writing to a String does not fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
}

/// Appends text of an XML element or attribute.
pub(super) fn xml(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => visible(out, character),
        }
    }
}

/// Appends text for a terminal: one line.
pub(super) fn terminal(out: &mut String, text: &str) {
    text.chars().for_each(|character| visible(out, character));
}

/// A character that neither controls a terminal nor changes the order of the letters around it, and that XML allows.
fn visible(out: &mut String, character: char) {
    let is_hidden = character.is_control()
        || matches!(
            character,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
                | '\u{fffe}' | '\u{ffff}' | '\u{61c}' | '\u{e0000}'..='\u{e007f}'
        );
    if is_hidden {
        let _ = write!(out, "\\u{{{:x}}}", u32::from(character));
    } else {
        out.push(character);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_character_ends_its_text_or_is_hidden() {
        for (text, in_json, in_xml, on_terminal) in [
            ("view", "\"view\"", "view", "view"),
            (
                "</title><script>",
                "\"</title><script>\"",
                "&lt;/title&gt;&lt;script&gt;",
                "</title><script>",
            ),
            (
                "a\"b'c\\d&",
                r#""a\"b'c\\d&""#,
                "a&quot;b&#39;c\\d&amp;",
                "a\"b'c\\d&",
            ),
            (
                "\x1b[2J\n\0",
                r#""\u001b[2J\u000a\u0000""#,
                r"\u{1b}[2J\u{a}\u{0}",
                r"\u{1b}[2J\u{a}\u{0}",
            ),
            ("größe", r#""gr\u00f6\u00dfe""#, "größe", "größe"),
            ("𝛑", r#""\ud835\uded1""#, "𝛑", "𝛑"),
            (
                "\u{202e}x\u{ffff}",
                r#""\u202ex\uffff""#,
                r"\u{202e}x\u{ffff}",
                r"\u{202e}x\u{ffff}",
            ),
        ] {
            for (write, expected) in [
                (json as fn(&mut String, &str), in_json),
                (xml, in_xml),
                (terminal, on_terminal),
            ] {
                let mut out = String::new();
                write(&mut out, text);
                assert_eq!(out, expected, "{text:?}");
            }
        }
    }
}
