//! System calls of systems that do not show them.

use super::{SystemCall, Wait};

pub(super) fn wait(_call: SystemCall) -> Wait {
    Wait::Other
}
