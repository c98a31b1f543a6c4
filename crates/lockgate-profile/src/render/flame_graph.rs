//! A profile as a flame graph: one SVG file without anything outside of it.
//!
//! Callers are above what they have called (as in an "icicle" graph): requests, then frames from the first caller on,
//! then what they waited for. The widths are parts of the wall time or of the CPU time. Without its script the file is
//! readable, with tooltips; the script adds zoom, search and keys. Equal profiles give equal files.

use std::fmt::Write;

use super::escape;
use super::layout::{Measure, Place, preorder};
use super::names::Names;
use super::summary::Summary;
use super::table::{percent, reservations, shares, time, title};
use super::tree::{Subject, Tree, wait_kind};
use crate::Profile;

const SCRIPT: &str = include_str!("flame_graph/script.js");
const STYLE: &str = include_str!("flame_graph/style.css");

/// The height of a frame with its border, in pixels, as in the script.
const ROW: usize = 19;
/// Frames that are smaller than this part of the whole are left out: about a tenth of a pixel.
const SMALLEST_PART: f64 = 1e-4;
/// Frames with at least this part have a text; the script writes those of others.
const SMALLEST_TEXT: f64 = 0.005;
/// Deeper frames are left out.
const DEEPEST: usize = 400;
/// Letters of a text in the file. What has no room is cut by the frame.
const LONGEST_TEXT: usize = 400;

/// Appends the file. `heading` names the profile; `first` is the measure that is shown first.
pub fn write_flame_graph(out: &mut Vec<u8>, profile: &Profile, heading: &str, first: Measure) {
    let names = Names::new(profile);
    let summary = Summary::new(profile);
    let tree = Tree::new(profile);
    let measures = [Measure::Wall, Measure::Cpu];
    let places = measures.map(|measure| preorder(&tree, measure, SMALLEST_PART));
    let rows = places.each_ref().map(|places| {
        let depths = places.iter().map(|place| place.depth.min(DEEPEST));
        depths.max().map_or(1, |depth| depth + 1)
    });
    let mut graph = FlameGraph {
        text: String::new(),
        profile,
        names: &names,
        tree: &tree,
    };
    let head = graph.head(heading, &summary);
    let shown = measures.iter().zip(rows).find(|(one, _)| **one == first);
    let height = head.height + shown.map_or(1, |(_, rows)| rows) * ROW + 12;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"lockgate-flame-graph\" data-measure=\"{}\" width=\"100%\" \
         height=\"{height}\">\n<style><![CDATA[{STYLE}]]></style>\n{}",
        name(first),
        head.text
    );
    for ((measure, places), rows) in measures.into_iter().zip(&places).zip(rows) {
        graph.text.clear();
        graph.frames(measure, places);
        let _ = writeln!(
            text,
            "<svg class=\"graph {}\" aria-label=\"{}\" x=\"1%\" y=\"{}\" width=\"98%\" height=\"{}\">\n{}</svg>",
            name(measure),
            label(measure),
            head.height,
            rows * ROW,
            graph.text
        );
    }
    let _ = writeln!(text, "<script><![CDATA[{SCRIPT}]]></script>\n</svg>");
    out.extend_from_slice(text.as_bytes());
}

fn name(measure: Measure) -> &'static str {
    match measure {
        Measure::Wall => "wall",
        Measure::Cpu => "cpu",
    }
}

fn label(measure: Measure) -> &'static str {
    match measure {
        Measure::Wall => "Flame graph of the wall time",
        Measure::Cpu => "Flame graph of the CPU time",
    }
}

/// What is above the graph, and its height in pixels.
struct Head {
    text: String,
    height: usize,
}

struct FlameGraph<'a> {
    text: String,
    profile: &'a Profile,
    names: &'a Names,
    tree: &'a Tree<'a>,
}

impl FlameGraph<'_> {
    fn head(&mut self, heading: &str, summary: &Summary<'_>) -> Head {
        let mut text = String::from("<title>");
        escape::xml(&mut text, heading);
        text.push_str("</title>\n");
        let mut height = 26;
        let mut line = |text: &mut String, class: &str, content: &str| {
            let _ = write!(text, "<text class=\"{class}\" x=\"1%\" y=\"{height}\">");
            escape::xml(text, content);
            text.push_str("</text>\n");
            height += 18;
        };
        line(&mut text, "heading", heading);
        line(&mut text, "quiet", &title(self.profile, summary.total));
        for reservation in reservations(self.profile) {
            line(&mut text, "", &format!("Note: {reservation}."));
        }
        if summary.total.samples > 0 {
            let _ = writeln!(
                text,
                "<svg class=\"bar\" x=\"1%\" y=\"{}\" width=\"98%\" height=\"10\">",
                height - 10
            );
            self.bar(&mut text, summary);
            text.push_str("</svg>\n");
            height += 16;
            self.legend(&mut text, summary, height);
            height += 18;
        }
        Head { text, height }
    }

    /// What threads did, as one bar.
    fn bar(&self, text: &mut String, summary: &Summary<'_>) {
        let whole = summary.total.samples as f64;
        let mut start = 0.0;
        for (activity, weight) in &summary.activities {
            let width = weight.samples as f64 / whole * 100.0;
            let _ = write!(
                text,
                "<rect class=\"{}\" x=\"{start:.4}%\" width=\"{width:.4}%\" height=\"10\"><title>",
                wait_kind(activity)
            );
            let time = time(self.profile.time_of(weight.samples));
            escape::xml(text, &format!("{activity}: {time}, {width:.1} %"));
            text.push_str("</title></rect>\n");
            start += width;
        }
    }

    /// The colours of the bar and of frames.
    fn legend(&self, text: &mut String, summary: &Summary<'_>, y: usize) {
        let _ = write!(text, "<text x=\"1%\" y=\"{y}\">");
        for (index, (activity, weight)) in summary.activities.iter().enumerate().take(6) {
            let gap = if index > 0 { "   " } else { "" };
            let share = shares(&[(activity, *weight)], summary.total);
            let _ = write!(
                text,
                "{gap}<tspan class=\"key {}\">■</tspan> ",
                wait_kind(activity)
            );
            escape::xml(text, &share);
        }
        text.push_str("   <tspan class=\"quiet\">Frames:</tspan>");
        for (kind, whose) in [
            ("own", "application"),
            ("package", "packages"),
            ("python", "Python"),
        ] {
            let _ = write!(text, " <tspan class=\"key {kind}\">■</tspan> {whose}");
        }
        text.push_str("</text>\n");
    }

    fn frames(&mut self, measure: Measure, places: &[Place]) {
        for place in places {
            // The root is no frame of the application: its width is that of the graph.
            if place.depth <= DEEPEST {
                self.frame(measure, *place);
            }
        }
    }

    fn frame(&mut self, measure: Measure, place: Place) {
        let node = &self.tree.nodes[place.node];
        let label = node.subject.label(self.names);
        let kind = node.subject.kind();
        let _ = write!(
            self.text,
            "<svg class=\"f {kind} v{}\" x=\"{:.4}%\" y=\"{}\" width=\"{:.4}%\" height=\"{ROW}\"><title>",
            variant(&label),
            place.start * 100.0,
            place.depth * ROW,
            place.width * 100.0
        );
        self.tooltip(measure, place, &label);
        let _ = write!(self.text, "</title><rect width=\"100%\" height=\"{ROW}\"/>");
        if place.width >= SMALLEST_TEXT {
            let cut: String = label.chars().take(LONGEST_TEXT).collect();
            self.text.push_str("<text x=\"4\" y=\"13\">");
            escape::xml(&mut self.text, &cut);
            self.text.push_str("</text>");
        }
        self.text.push_str("</svg>\n");
    }

    fn tooltip(&mut self, measure: Measure, place: Place, label: &str) {
        let node = &self.tree.nodes[place.node];
        let wall = |samples| time(self.profile.time_of(samples));
        let mut text = String::new();
        escape::xml(&mut text, label);
        let share = percent(place.width);
        let (total, own) = (node.total, node.own);
        let _ = match measure {
            Measure::Wall => write!(text, "\n{share}: {}", wall(total.samples)),
            Measure::Cpu => write!(text, "\n{share} of the CPU time: {}", time(total.cpu)),
        };
        if let Subject::Frame(_) = node.subject {
            let own = match measure {
                Measure::Wall => wall(own.samples),
                Measure::Cpu => time(own.cpu),
            };
            let _ = write!(text, ", {own} of it in this line itself");
        }
        let _ = match (measure, node.subject) {
            (_, Subject::Wait(_)) => Ok(()),
            (Measure::Wall, _) => write!(text, "\nCPU time: {}", time(total.cpu)),
            (Measure::Cpu, _) => write!(text, "\nWall time: {}", wall(total.samples)),
        };
        if let Subject::Frame(frame) = node.subject
            && frame.file != self.names.path(&frame.file)
        {
            text.push('\n');
            escape::xml(&mut text, &frame.file);
        }
        self.text.push_str(&text);
    }
}

/// One of four shades, the same for equal texts (FNV-1a).
fn variant(label: &str) -> u32 {
    let hash = label.bytes().fold(0x811c_9dc5, |hash: u32, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    (hash >> 16) & 3
}

#[cfg(test)]
mod tests {
    use super::super::samples::{Sample, profile, shop};
    use super::*;
    use crate::Activity;

    const HEADING: &str = "Profile of 2 workers, 2026-11-29 23:40:12 UTC";

    fn written(profile: &Profile, first: Measure) -> String {
        let mut out = Vec::new();
        write_flame_graph(&mut out, profile, HEADING, first);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_file_is_the_golden_one() {
        let is_same = written(&shop(), Measure::Wall) == include_str!("flame_graph/shop.svg");
        let advice =
            "look at the new file in a browser, then: cargo test -p lockgate-profile -- --ignored";
        assert!(is_same, "flame_graph/shop.svg differs: {advice}");
    }

    #[test]
    #[ignore = "writes the golden files"]
    #[expect(
        clippy::disallowed_methods,
        reason = "no test of the crate, but a tool"
    )]
    fn write_golden_files() {
        let render = concat!(env!("CARGO_MANIFEST_DIR"), "/src/render");
        let write =
            |path: &str, text: &[u8]| std::fs::write(format!("{render}/{path}"), text).unwrap();
        let mut table = Vec::new();
        super::super::write_table(&mut table, &shop(), "Profile of worker 0");
        write("table/shop.txt", &table);
        let mut speedscope = Vec::new();
        super::super::write_speedscope(&mut speedscope, &shop(), HEADING, "0.0.0");
        write("speedscope/shop.json", &speedscope);
        write(
            "flame_graph/shop.svg",
            written(&shop(), Measure::Wall).as_bytes(),
        );
    }

    #[test]
    fn any_name_stays_inside_its_text() {
        let name = "a</title><script>alert('1')</script>&\"]]>\u{0}\u{202e}";
        let label: &str = format!("GET /{name}").leak();
        let text = written(
            &profile(&[Sample(
                label,
                name,
                Activity::Network(name.to_owned()),
                1,
                1,
            )]),
            Measure::Wall,
        );
        assert_eq!(text.matches("<script>").count(), 1);
        assert_eq!(
            text.matches("]]>").count(),
            2,
            "of the style and of the script"
        );
        assert!(text.contains("GET /a&lt;/title&gt;&lt;script&gt;alert(&#39;1&#39;)"));
        assert!(!text.contains(['\u{0}', '\u{202e}']));
    }

    #[test]
    fn the_measure_that_is_shown_first_sets_the_height() {
        let profile = profile(&[
            Sample("GET /", "one two three", Activity::Lock, 9, 0),
            Sample("GET /", "one", Activity::Running, 1, 10),
        ]);
        for (first, start) in [
            (
                Measure::Wall,
                "data-measure=\"wall\" width=\"100%\" height=\"222\">",
            ),
            (
                Measure::Cpu,
                "data-measure=\"cpu\" width=\"100%\" height=\"165\">",
            ),
        ] {
            assert!(written(&profile, first).contains(start), "{first:?}");
        }
    }

    #[test]
    fn an_empty_profile_and_a_deep_stack_are_drawn() {
        let empty = written(&Profile::default(), Measure::Wall);
        assert!(empty.contains("no thread did anything") && !empty.contains("class=\"f "));
        let deep: &str = "f ".repeat(5_000).leak();
        let text = written(
            &profile(&[Sample("GET /", deep, Activity::Running, 1, 1)]),
            Measure::Wall,
        );
        assert_eq!(text.matches("class=\"f ").count(), 2 * (DEEPEST + 1));
    }

    #[test]
    fn what_has_no_room_is_left_out() {
        let profile = profile(&[
            Sample("GET /", "one", Activity::Running, 100_000, 0),
            Sample("GET /", "narrow", Activity::Running, 100, 0),
            Sample("GET /", "gone", Activity::Running, 1, 0),
        ]);
        let text = written(&profile, Measure::Wall);
        for (name, titles, texts) in [("one", 1, 1), ("narrow", 1, 0), ("gone", 0, 0)] {
            assert_eq!(
                text.matches(&format!("<title>{name} ")).count(),
                titles,
                "{name}"
            );
            assert_eq!(
                text.matches(&format!("\">{name} (")).count(),
                texts,
                "{name}"
            );
        }
    }
}
