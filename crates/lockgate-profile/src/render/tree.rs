//! A profile as a tree: all, requests, frames from the first caller on, and what threads waited for there.

use std::collections::HashMap;

use super::names::{Names, origin, shown_frames, shown_label};
use crate::{Activity, Frame, Profile, Weight};

/// What a node stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Subject<'a> {
    /// Everything that counts.
    All,
    /// A request, or all threads without one: its label is empty.
    Request(&'a str),
    /// A line of a function.
    Frame(&'a Frame),
    /// What its caller waited for.
    Wait(&'a Activity),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Node<'a> {
    pub(super) subject: Subject<'a>,
    /// The index of its caller, which is smaller; that of the root is its own.
    pub(super) parent: usize,
    /// With everything below.
    pub(super) total: Weight,
    /// In this node itself, waits included.
    pub(super) own: Weight,
    pub(super) children: Vec<usize>,
}

/// See the module. The first node is the root.
#[derive(Debug)]
pub(super) struct Tree<'a> {
    pub(super) nodes: Vec<Node<'a>>,
}

impl<'a> Tree<'a> {
    pub(super) fn new(profile: &'a Profile) -> Self {
        let mut tree = Self {
            nodes: vec![Node {
                subject: Subject::All,
                parent: 0,
                total: Weight::default(),
                own: Weight::default(),
                children: Vec::new(),
            }],
        };
        let mut numbers = HashMap::new();
        let mut path = Vec::new();
        for (row, &weight) in profile.counted_rows() {
            path.clear();
            let frames = shown_frames(profile, row.stack);
            path.push(Subject::Request(shown_label(row, &frames)));
            path.extend(frames.into_iter().map(Subject::Frame));
            let own_at = path.len();
            if !row.activity.is_running() {
                path.push(Subject::Wait(&row.activity));
            }
            tree.add(&mut numbers, &path, own_at, weight);
        }
        // Rows are in no order.
        for index in 0..tree.nodes.len() {
            let mut children = std::mem::take(&mut tree.nodes[index].children);
            children.sort_by_key(|&child| tree.nodes[child].subject);
            tree.nodes[index].children = children;
        }
        tree
    }

    /// Adds a weight along a path from the root; it is spent in the node at `own_at`, and what follows is its wait.
    fn add(
        &mut self,
        numbers: &mut HashMap<(usize, Subject<'a>), usize>,
        path: &[Subject<'a>],
        own_at: usize,
        weight: Weight,
    ) {
        let mut node = 0;
        self.nodes[node].total.add(weight);
        for (depth, &subject) in path.iter().enumerate() {
            let child = *numbers.entry((node, subject)).or_insert_with(|| {
                let child = self.nodes.len();
                self.nodes.push(Node {
                    subject,
                    parent: node,
                    total: Weight::default(),
                    own: Weight::default(),
                    children: Vec::new(),
                });
                self.nodes[node].children.push(child);
                child
            });
            node = child;
            self.nodes[node].total.add(weight);
            if depth + 1 == own_at {
                self.nodes[node].own.add(weight);
            }
        }
    }
}

impl Subject<'_> {
    /// As it is shown.
    pub(super) fn label(self, names: &Names) -> String {
        match self {
            Self::All => "all".to_owned(),
            Self::Request("") => "threads without a request".to_owned(),
            Self::Request(label) => label.to_owned(),
            Self::Frame(frame) => names.frame(frame),
            Self::Wait(activity) => wait_label(activity),
        }
    }

    /// A word for its colour.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Request(_) => "request",
            Self::Frame(frame) => origin(&frame.file).0.name(),
            Self::Wait(activity) => wait_kind(activity),
        }
    }
}

/// As `waits for network 10.0.0.5:5432`.
pub(super) fn wait_label(activity: &Activity) -> String {
    match activity {
        Activity::Running => "runs".to_owned(),
        Activity::Gil => "waits for the GIL".to_owned(),
        Activity::Lock => "waits for a lock".to_owned(),
        Activity::Network(peer) if peer.is_empty() => "waits for the network".to_owned(),
        Activity::Network(peer) => format!("waits for {peer}"),
        Activity::Disk => "waits for a disk".to_owned(),
        Activity::Sleep => "sleeps".to_owned(),
        Activity::Child => "waits for a child process".to_owned(),
        Activity::Waiting => "waits".to_owned(),
    }
}

/// A word for the colour of an activity.
pub(super) fn wait_kind(activity: &Activity) -> &'static str {
    match activity {
        Activity::Running => "running",
        Activity::Gil => "gil",
        Activity::Lock => "lock",
        Activity::Network(_) => "network",
        Activity::Disk => "disk",
        Activity::Sleep => "sleep",
        Activity::Child => "child",
        Activity::Waiting => "waiting",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::samples::{Sample, profile};
    use super::*;

    #[test]
    fn a_tree_has_requests_frames_and_waits() {
        let profile = profile(&[
            Sample("GET /", "thread main", Activity::Running, 3, 30),
            Sample("GET /", "thread main view", Activity::Running, 2, 20),
            Sample("GET /", "thread main view", Activity::Gil, 4, 0),
            Sample("", "thread refresh", Activity::Running, 1, 10),
            Sample("", "thread refresh", Activity::Sleep, 90, 0),
            Sample("POST /", "", Activity::Running, 1, 5),
            Sample("", "thread", Activity::Running, 2, 20),
        ]);
        let tree = Tree::new(&profile);
        let names = Names::new(&profile);
        let mut lines: Vec<_> = (tree.nodes.iter())
            .map(|node| {
                let parent = tree.nodes[node.parent].subject.label(&names);
                (
                    format!("{parent} > {}", node.subject.label(&names)),
                    node.subject.kind(),
                    (node.total.samples, node.own.samples),
                    node.total.cpu,
                )
            })
            .collect();
        lines.sort();
        let milliseconds = Duration::from_millis;
        let expected = [
            ("GET / > main (app.py:1)", "own", (9, 3), milliseconds(50)),
            ("all > GET /", "request", (9, 0), milliseconds(50)),
            ("all > Lockgate itself", "request", (2, 2), milliseconds(20)),
            ("all > POST /", "request", (1, 1), milliseconds(5)),
            ("all > all", "all", (13, 0), milliseconds(85)),
            (
                "all > threads without a request",
                "request",
                (1, 0),
                milliseconds(10),
            ),
            (
                "main (app.py:1) > view (app.py:2)",
                "own",
                (6, 6),
                milliseconds(20),
            ),
            (
                "threads without a request > refresh (app.py:1)",
                "own",
                (1, 1),
                milliseconds(10),
            ),
            (
                "view (app.py:2) > waits for the GIL",
                "gil",
                (4, 0),
                milliseconds(0),
            ),
        ];
        let expected =
            expected.map(|(line, kind, samples, cpu)| (line.to_owned(), kind, samples, cpu));
        assert_eq!(lines, expected);
    }
}
