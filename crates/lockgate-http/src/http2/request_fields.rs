//! The decoded fields of a request (RFC 9113 §8.3.1) and of its trailers, on their way into a [`RequestHead`].

use crate::error::Refusal;
use crate::http2::priority::Priority;
use crate::limits::Limits;
use crate::request::{RequestHead, Version};
use crate::request_builder::{ControlData, RequestHeadBuilder};
use crate::rules::fields::{check_http2_field, check_name, check_value, is_forbidden_trailer};
use crate::span::Span;

/// The pseudo-header fields of one request; reused, so that they need no memory of their own.
#[derive(Debug, Default)]
pub(crate) struct PseudoHeaders {
    bytes: Vec<u8>,
    /// `:method`, `:scheme`, `:authority`, `:path`.
    spans: [Option<Span>; 4],
}

const METHOD: usize = 0;
const SCHEME: usize = 1;
const AUTHORITY: usize = 2;
const PATH: usize = 3;

impl PseudoHeaders {
    fn clear(&mut self) {
        self.bytes.clear();
        self.spans = [None; 4];
    }

    fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        let index = match name {
            b":method" => METHOD,
            b":scheme" => SCHEME,
            b":authority" => AUTHORITY,
            b":path" => PATH,
            _ => return Err(Refusal::UnknownPseudoHeader),
        };
        let start = self.bytes.len();
        self.bytes.extend_from_slice(value);
        let span = Span::new(start, self.bytes.len());
        match self.spans[index].replace(span) {
            None => Ok(()),
            Some(_) => Err(Refusal::RepeatedPseudoHeader),
        }
    }

    fn get(&self, index: usize) -> Option<&[u8]> {
        self.spans[index].map(|span| span.of(&self.bytes))
    }

    /// The control data of the request. A scheme that is the connection's is left out, so that only one that differs
    /// makes the target absolute: then the rules about `https` targets over plain HTTP hold.
    fn control_data(&self, is_https: bool) -> Result<ControlData<'_>, Refusal> {
        let method = self.get(METHOD).ok_or(Refusal::MissingPseudoHeader)?;
        let (scheme, authority) = (self.get(SCHEME), self.get(AUTHORITY));
        let version = Version::Http2;
        if method == b"CONNECT" {
            // RFC 9113 §8.5. It is refused; its authority is the target for the log.
            return match (scheme, authority, self.get(PATH)) {
                (None, Some(target), None) => Ok(ControlData {
                    method,
                    scheme: None,
                    authority: None,
                    target,
                    version,
                }),
                _ => Err(Refusal::MissingPseudoHeader),
            };
        }
        let own: &[u8] = if is_https { b"https" } else { b"http" };
        match (scheme, self.get(PATH)) {
            (Some(scheme @ [_, ..]), Some(target)) => Ok(ControlData {
                method,
                scheme: (!scheme.eq_ignore_ascii_case(own)).then_some(scheme),
                authority,
                target,
                version,
            }),
            _ => Err(Refusal::MissingPseudoHeader),
        }
    }
}

/// Takes the fields of a request.
pub(crate) struct RequestFields<'a> {
    pseudo: &'a mut PseudoHeaders,
    limits: &'a Limits,
    is_https: bool,
    stage: Stage<'a>,
    pub(crate) priority: Option<Priority>,
}

enum Stage<'a> {
    Pseudo(&'a mut RequestHead),
    Fields(RequestHeadBuilder<'a>),
    Refused(Refusal),
}

impl<'a> RequestFields<'a> {
    pub(crate) fn new(
        head: &'a mut RequestHead,
        pseudo: &'a mut PseudoHeaders,
        limits: &'a Limits,
        is_https: bool,
    ) -> Self {
        pseudo.clear();
        Self {
            pseudo,
            limits,
            is_https,
            stage: Stage::Pseudo(head),
            priority: None,
        }
    }

    /// Takes the next field. The first fault decides.
    pub(crate) fn add(&mut self, name: &[u8], value: &[u8]) {
        let is_pseudo = name.first() == Some(&b':');
        let answer = match &mut self.stage {
            Stage::Pseudo(_) if is_pseudo => self.pseudo.add(name, value),
            Stage::Pseudo(_) => match self.start() {
                Ok(()) => return self.add(name, value),
                Err(refusal) => Err(refusal),
            },
            Stage::Fields(_) if is_pseudo => Err(Refusal::MisplacedPseudoHeader),
            Stage::Fields(builder) => builder.field(name, value),
            Stage::Refused(_) => return,
        };
        match answer {
            Ok(()) if name == b"priority" => self.priority = Some(Priority::parse(value)),
            Ok(()) => {}
            Err(refusal) => self.refuse(refusal),
        }
    }

    /// The fault that was found.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        match self.stage {
            Stage::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Ends the head. `is_last`: no body follows.
    pub(crate) fn finish(mut self, is_last: bool) -> Result<Option<Priority>, Refusal> {
        if let Stage::Pseudo(_) = self.stage {
            self.start()?;
        }
        match self.stage {
            Stage::Fields(builder) => builder.finish_stream(is_last).map(|()| self.priority),
            Stage::Refused(refusal) => Err(refusal),
            Stage::Pseudo(_) => Err(Refusal::MissingPseudoHeader),
        }
    }

    /// All pseudo-header fields are there.
    fn start(&mut self) -> Result<(), Refusal> {
        let refused = Stage::Refused(Refusal::MissingPseudoHeader);
        let Stage::Pseudo(head) = std::mem::replace(&mut self.stage, refused) else {
            return Ok(());
        };
        match self.pseudo.control_data(self.is_https) {
            Ok(control_data) => {
                let builder = RequestHeadBuilder::new(head, &control_data, self.limits)?;
                self.stage = Stage::Fields(builder);
                Ok(())
            }
            Err(refusal) => {
                head.clear();
                Err(refusal)
            }
        }
    }

    /// `head` keeps what was read before the fault.
    #[cold]
    fn refuse(&mut self, refusal: Refusal) {
        if let Stage::Pseudo(head) = &mut self.stage {
            head.clear();
        }
        self.stage = Stage::Refused(refusal);
    }
}

/// Checks trailers, which are then dropped as in HTTP/1.
pub(crate) struct TrailerFields<'a> {
    limits: &'a Limits,
    count: usize,
    /// Their length as lines of HTTP/1.
    length: usize,
    refusal: Option<Refusal>,
}

impl<'a> TrailerFields<'a> {
    pub(crate) fn new(limits: &'a Limits) -> Self {
        Self {
            limits,
            count: 0,
            length: "\r\n".len(),
            refusal: None,
        }
    }

    pub(crate) fn add(&mut self, name: &[u8], value: &[u8]) {
        if self.refusal.is_none() {
            self.refusal = self.check(name, value).err();
        }
    }

    fn check(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        if name.first() == Some(&b':') {
            return Err(Refusal::MisplacedPseudoHeader);
        }
        check_name(name)?;
        check_value(value)?;
        check_http2_field(name, value)?;
        if is_forbidden_trailer(name) {
            return Err(Refusal::ForbiddenTrailer);
        }
        let line = name.len() + value.len() + 4;
        self.count += 1;
        self.length += line;
        let limits = self.limits;
        if self.count > limits.fields {
            return Err(Refusal::TooManyFields {
                limit: limits.fields,
            });
        }
        if line > limits.field_size {
            return Err(Refusal::FieldTooLarge {
                limit: limits.field_size,
            });
        }
        if self.length > limits.trailers {
            return Err(Refusal::TrailersTooLarge {
                limit: limits.trailers,
            });
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<(), Refusal> {
        match self.refusal {
            Some(refusal) => Err(refusal),
            None => Ok(()),
        }
    }
}
