//! Work that a worker thread does without the GIL.

/// Work for [`crate::App::detached`].
///
/// Only this crate, which does not depend on Python, can construct one. So the work uses no object of the interpreter,
/// except values that the application passed in as `Send + 'static`.
pub struct DetachedWork<'a>(&'a mut dyn FnMut());

impl<'a> DetachedWork<'a> {
    pub(crate) fn new(work: &'a mut dyn FnMut()) -> Self {
        Self(work)
    }

    /// Does the work, on this thread.
    pub fn run(self) {
        (self.0)();
    }
}
