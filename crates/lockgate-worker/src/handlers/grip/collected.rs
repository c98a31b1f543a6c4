//! A response that is not sent when the application makes it: one that waits for a message, or whose body is an
//! instruction.

use std::fmt;

use lockgate_http::ResponseHead;
use lockgate_push::{Instruction, InstructionError, InstructionLimits};

use crate::exchange::stored_response::StoredResponse;

/// See the module.
pub(super) struct Collected {
    /// `None`: the body is the instruction.
    instruction: Option<Instruction>,
    response: StoredResponse,
}

/// Why a response cannot be held.
#[derive(Debug)]
pub(super) enum Problem {
    /// It is longer than `push_message_limit`; the number is the limit.
    TooLong(usize),
    Instruction(InstructionError),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(limit) => write!(
                f,
                "its body is larger than {limit} bytes (setting: push_message_limit)"
            ),
            Self::Instruction(error) => error.fmt(f),
        }
    }
}

impl Collected {
    /// A response whose body is the instruction.
    pub(super) fn instruction(head: ResponseHead) -> Self {
        Self::new(None, head)
    }

    /// A response that is sent if no message comes in time.
    pub(super) fn response(head: ResponseHead, instruction: Instruction) -> Self {
        Self::new(Some(instruction), head)
    }

    fn new(instruction: Option<Instruction>, head: ResponseHead) -> Self {
        let body = Vec::new();
        Self {
            instruction,
            response: StoredResponse { head, body },
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8], limit: usize) -> Result<(), Problem> {
        if self.response.body.len() + bytes.len() > limit {
            return Err(Problem::TooLong(limit));
        }
        self.response.body.extend_from_slice(bytes);
        Ok(())
    }

    /// The instruction, and the response that comes first, or last.
    pub(super) fn finish(
        self,
        limits: &InstructionLimits,
    ) -> Result<(Instruction, StoredResponse), Problem> {
        if let Some(instruction) = self.instruction {
            return Ok((instruction, self.response));
        }
        let (instruction, response) =
            Instruction::from_body(&self.response.body, limits).map_err(Problem::Instruction)?;
        let response = response.unwrap_or_default();
        Ok((instruction, StoredResponse::of(&response)))
    }
}
