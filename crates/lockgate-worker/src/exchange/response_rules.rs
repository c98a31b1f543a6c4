//! Response rules: edits of the fields of a response, and pages in place of the server's own error texts.

use std::collections::BTreeMap;
use std::sync::Arc;

use lockgate_http::{LocalResponse, ResponseHead};

use super::answer::Answer;

/// See the module documentation. Those of a route, which all its requests share.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ResponseRules {
    /// Fields in order: with a value, its only one from then on; without, removed. Names and values are valid.
    pub edits: Vec<(Box<str>, Option<Box<str>>)>,
    /// Bodies of error responses that the server makes itself.
    pub error_pages: BTreeMap<u16, Arc<ErrorPage>>,
}

/// The content of a file of `error_pages`.
#[derive(Debug, PartialEq, Eq)]
pub struct ErrorPage {
    pub content_type: String,
    pub body: Vec<u8>,
}

/// The head without the X-Request-Id of the application, where the server sends that of the request; `None`: it has
/// none. A response that was stored for another request would have that one's id.
pub fn without_request_id(head: &ResponseHead) -> Option<ResponseHead> {
    const NAME: &str = "X-Request-Id";
    head.header(NAME)?;
    let mut head = head.clone();
    head.remove(NAME.as_bytes());
    Some(head)
}

impl ResponseRules {
    /// The head with the edits; `None`: there are none.
    #[cold]
    pub fn edited(&self, head: &ResponseHead) -> Option<ResponseHead> {
        if self.edits.is_empty() {
            return None;
        }
        let mut head = head.clone();
        for (name, value) in &self.edits {
            match value {
                Some(value) => {
                    // Valid since the settings were read.
                    let _valid = head.set(name.as_bytes(), value.as_bytes());
                }
                None => {
                    head.remove(name.as_bytes());
                }
            }
        }
        Some(head)
    }

    /// The answer with the page of its status as its body; `None`: there is no page.
    #[cold]
    pub fn replaced(&self, answer: &Answer) -> Option<LocalResponse> {
        let response = &answer.response;
        let page = (self.error_pages.get(&response.status)).filter(|_| answer.is_own())?;
        Some(LocalResponse {
            content_type: page.content_type.clone().into(),
            body: page.body.clone().into(),
            ..response.clone()
        })
    }

    /// The answer with the page and the edits, where its head is encoded without [`ResponseRules::edited`].
    #[cold]
    pub fn applied(&self, answer: &Answer) -> LocalResponse {
        let mut applied = self
            .replaced(answer)
            .unwrap_or_else(|| answer.response.clone());
        for (name, value) in &self.edits {
            (applied.headers).retain(|(other, _)| !other.eq_ignore_ascii_case(name));
            if let Some(value) = value {
                let field = (name.to_string().into(), value.to_string().into());
                applied.headers.push(field);
            }
        }
        applied
    }
}
