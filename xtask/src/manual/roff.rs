//! Text as source of man pages (the macros of man(7)).

/// Longest line of the source; readers wrap it to their terminals.
const WIDTH: usize = 78;

/// A paragraph in filled lines. `code` in backquotes becomes bold, and Markdown's links become their texts.
pub fn paragraph(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for sentence in sentences(&without_links(text)) {
        let mut line = String::new();
        for word in sentence.split_whitespace() {
            if !line.is_empty() && width(&line) + 1 + width(word) > WIDTH {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    // Bold text may go on in the next line.
    let mut is_bold = false;
    let marked: Vec<String> = lines
        .iter()
        .map(|line| protected(&marked(line, &mut is_bold)))
        .collect();
    marked.join("\n")
}

/// Bytes of the source.
fn width(text: &str) -> usize {
    literal(&text.replace('`', "\\fB")).len()
}

/// Text within a line, as it is.
pub fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '\'' => out.push_str("\\(aq"),
            '`' => out.push_str("\\(ga"),
            '^' => out.push_str("\\(ha"),
            '~' => out.push_str("\\(ti"),
            '…' => out.push_str("..."),
            character => out.push(character),
        }
    }
    out
}

/// A whole line as it is.
pub fn line(text: &str) -> String {
    protected(&literal(text))
}

/// A line that begins with a period or an apostrophe would be a request.
fn protected(line: &str) -> String {
    if line.starts_with(['.', '\'']) {
        format!("\\&{line}")
    } else {
        line.to_owned()
    }
}

fn marked(line: &str, is_bold: &mut bool) -> String {
    let mut out = String::new();
    for (index, part) in line.split('`').enumerate() {
        if index > 0 {
            *is_bold = !*is_bold;
            out.push_str(if *is_bold { "\\fB" } else { "\\fR" });
        }
        out.push_str(&literal(part));
    }
    out
}

/// Each sentence begins a line, as man(7) asks for.
fn sentences(text: &str) -> Vec<&str> {
    text.split_inclusive(". ").collect()
}

fn without_links(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("](") {
        let (Some((start, words)), Some((_, further))) =
            (before.rsplit_once('['), after.split_once(')'))
        else {
            break;
        };
        out.push_str(start);
        out.push_str(words);
        rest = further;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_marked() {
        let cases = [
            ("plain", "plain"),
            ("a `--flag` of `x`", "a \\fB\\-\\-flag\\fR of \\fBx\\fR"),
            (".leading", "\\&.leading"),
            ("back\\slash", "back\\eslash"),
            ("One. Two.", "One.\nTwo."),
            ("[Its page](../a.md) has it.", "Its page has it."),
            ("'quoted'", "\\(aqquoted\\(aq"),
        ];
        for (text, expected) in cases {
            assert_eq!(paragraph(text), expected, "{text}");
        }
    }

    #[test]
    fn long_text_is_filled_and_bold_goes_on() {
        let text = format!("`{}`", "word ".repeat(40).trim());
        let filled = paragraph(&text);
        assert!(
            filled.lines().all(|line| line.len() <= WIDTH + 4),
            "{filled}"
        );
        assert_eq!(filled.matches("\\fB").count(), 1);
        assert!(filled.ends_with("word\\fR"), "{filled}");
    }
}
