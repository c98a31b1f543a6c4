//! Stacks of frames, which share their beginnings: a tree, in which a stack is the node of its most recent frame.

use std::collections::HashMap;

/// A line of a function that a thread executed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Frame {
    /// The function's qualified name, as `Cart.total`.
    pub function: String,
    /// The path of its file.
    pub file: String,
    /// From 1; 0: not known.
    pub line: u32,
}

/// A stack in a [`Stacks`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StackId(u32);

impl StackId {
    /// The stack without frames.
    pub const EMPTY: Self = Self(0);

    /// Its index: stacks are numbered as they are made, after their callers.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A frame in a [`Stacks`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameId(u32);

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Stacks {
    frames: Vec<Frame>,
    frame_numbers: HashMap<Frame, u32>,
    /// The caller and the frame of stack 1, 2, ….
    nodes: Vec<(StackId, u32)>,
    numbers: HashMap<(StackId, u32), StackId>,
}

impl Stacks {
    /// The stack of `caller` with one more frame, the most recent one.
    pub fn push(&mut self, caller: StackId, frame: &Frame) -> StackId {
        let frame = self.intern(frame);
        self.push_interned(caller, frame)
    }

    /// The number of a frame: pushing it by number is much quicker.
    pub fn intern(&mut self, frame: &Frame) -> FrameId {
        if let Some(number) = self.frame_numbers.get(frame) {
            return FrameId(*number);
        }
        let number = self.frames.len() as u32;
        self.frames.push(frame.clone());
        self.frame_numbers.insert(frame.clone(), number);
        FrameId(number)
    }

    /// As [`Stacks::push`].
    pub fn push_interned(&mut self, caller: StackId, frame: FrameId) -> StackId {
        *self.numbers.entry((caller, frame.0)).or_insert_with(|| {
            self.nodes.push((caller, frame.0));
            StackId(self.nodes.len() as u32)
        })
    }

    /// The frames of a stack, the most recent one first.
    pub fn frames(&self, stack: StackId) -> impl Iterator<Item = &Frame> {
        let node = |stack: StackId| self.nodes.get(stack.index().checked_sub(1)?);
        std::iter::successors(node(stack), move |(caller, _)| node(*caller))
            .filter_map(|(_, frame)| self.frames.get(*frame as usize))
    }

    /// The frames, and the caller and the number of the frame of stack 1, 2, ….
    pub(crate) fn tables(&self) -> (&[Frame], &[(StackId, u32)]) {
        (&self.frames, &self.nodes)
    }

    /// Takes all stacks of another one; returns what its stacks are called here, by their index.
    pub(crate) fn take(&mut self, other: &Self) -> Vec<StackId> {
        let mut ids = vec![StackId::EMPTY];
        for (caller, frame) in &other.nodes {
            let known = ids
                .get(caller.index())
                .zip(other.frames.get(*frame as usize));
            // Both exist: `push` has made the node.
            let id = known.map(|(caller, frame)| (*caller, frame));
            ids.push(id.map_or(StackId::EMPTY, |(caller, frame)| self.push(caller, frame)));
        }
        ids
    }

    /// How many different frames there are.
    pub fn frame_count(&self) -> usize {
        self.frames.len()
    }

    /// How many stacks there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_share_their_callers() {
        let frame = |function: &str, line| Frame {
            function: function.to_owned(),
            file: "/srv/app.py".to_owned(),
            line,
        };
        let mut stacks = Stacks::default();
        let main = stacks.push(StackId::EMPTY, &frame("main", 1));
        let one = stacks.push(main, &frame("view", 2));
        let other = stacks.push(main, &frame("view", 3));
        assert_ne!(one, other);
        assert_eq!(stacks.push(main, &frame("view", 2)), one);
        assert_eq!((stacks.len(), stacks.frame_count()), (3, 3));
        let functions: Vec<_> = (stacks.frames(other))
            .map(|frame| (frame.function.as_str(), frame.line))
            .collect();
        assert_eq!(functions, [("view", 3), ("main", 1)]);
        assert_eq!(stacks.frames(StackId::EMPTY).count(), 0);
    }
}
