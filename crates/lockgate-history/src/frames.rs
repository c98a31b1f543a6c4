//! Stacks as JSON: each frame with its file, line and function, and the text of the lines that matter.

use lockgate_observe::Json;
use lockgate_profile::Frame;
use lockgate_profile::render::is_own_code;

use crate::slow::SlowSample;

/// The text of a line of a file, from 1, that was loaded at a time (milliseconds since 1970) or before it; `None` if it
/// cannot be read, or has changed since.
pub type SourceLines<'a> = dyn FnMut(&str, u32, u64) -> Option<String> + 'a;

/// Letters of a line that are shown.
const MOST_LETTERS: usize = 200;

/// Appends `"frames":[…]`, the most recent frame first. That one and the most recent one of the application's own code
/// have the text of their line. `loaded`: as in [`SourceLines`].
pub(crate) fn write_frames(
    json: &mut Json,
    frames: &[Frame],
    lines: &mut SourceLines<'_>,
    loaded: u64,
) {
    let own = frames.iter().position(|frame| is_own_code(&frame.file));
    json.key("frames");
    json.open('[');
    for (index, frame) in frames.iter().enumerate() {
        json.separate();
        json.open('{');
        json.text("file", frame.file.as_bytes());
        json.number("line", frame.line.into());
        json.text("function", frame.function.as_bytes());
        if (index == 0 || Some(index) == own)
            && frame.line > 0
            && let Some(line) = lines(&frame.file, frame.line, loaded)
        {
            let line: String = line.trim().chars().take(MOST_LETTERS).collect();
            json.text("source", line.as_bytes());
        }
        json.close('}');
    }
    json.close(']');
}

/// Appends `"samples":[…]`.
pub(crate) fn write_samples(
    json: &mut Json,
    samples: &[SlowSample],
    lines: &mut SourceLines<'_>,
    loaded: u64,
) {
    json.key("samples");
    json.open('[');
    for sample in samples {
        json.separate();
        json.open('{');
        json.number("count", sample.count);
        json.text("activity", sample.activity.to_string().as_bytes());
        write_frames(json, &sample.frames, lines, loaded);
        json.close('}');
    }
    json.close(']');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_recent_frame_and_the_one_of_the_application_have_their_line() {
        let frame = |file: &str, line| Frame {
            function: "f".to_owned(),
            file: file.to_owned(),
            line,
        };
        let library = "/usr/lib/python3.12/socket.py";
        let frames = [
            frame(library, 7),
            frame(library, 8),
            frame("/srv/a.py", 9),
            frame("/srv/b.py", 1),
        ];
        let text = |frames: &[Frame]| {
            let mut json = Json::default();
            json.open('{');
            let mut asked = Vec::new();
            write_frames(
                &mut json,
                frames,
                &mut |file, line, loaded| {
                    asked.push((file.to_owned(), line));
                    assert_eq!(loaded, 7);
                    (file != "/srv/gone.py").then(|| format!("  é{}\t", "x".repeat(300)))
                },
                7,
            );
            json.close('}');
            let mut out = Vec::new();
            json.finish(&mut out);
            assert!(out.is_ascii());
            let found: serde_json::Value = serde_json::from_slice(&out).unwrap();
            let sources = found["frames"].as_array().unwrap().iter();
            let sources: Vec<_> = sources
                .map(|frame| frame["source"].as_str().map(|text| text.chars().count()))
                .collect();
            (sources, asked)
        };
        let (sources, asked) = text(&frames);
        assert_eq!(sources, [Some(200), None, Some(200), None]);
        assert_eq!(
            asked,
            [(library.to_owned(), 7), ("/srv/a.py".to_owned(), 9)]
        );
        assert_eq!(text(&[frame("/srv/gone.py", 3)]).0, [None]);
        assert_eq!(
            text(&[frame("/srv/a.py", 0)]).0,
            [None],
            "the line is not known"
        );
        assert_eq!(text(&[]).0, []);
    }
}
