//! A complete response that waits to be sent.

use lockgate_http::ResponseHead;
use lockgate_push::ResponseFormat;

use super::answer::Answer;

/// See the module documentation.
#[derive(Debug, Clone, Default)]
pub struct StoredResponse {
    pub head: ResponseHead,
    pub body: Vec<u8>,
}

impl StoredResponse {
    /// The response that a message contains. Fields that HTTP does not allow are left out, and so is Content-Length,
    /// which follows from the body.
    pub fn of(format: &ResponseFormat) -> Self {
        let mut head = ResponseHead::default();
        if head
            .set_status(format.code, format.reason.as_bytes())
            .is_err()
        {
            // Checked when the message was published; another version of the program may have done that.
            let _valid = head.set_status(200, b"OK");
        }
        for (name, value) in &format.headers {
            if !name.eq_ignore_ascii_case("content-length") {
                let _left_out = head.push(name.as_bytes(), value.as_bytes());
            }
        }
        Self {
            head,
            body: format.body.clone(),
        }
    }
}

impl From<&Answer> for StoredResponse {
    fn from(answer: &Answer) -> Self {
        let mut head = ResponseHead::default();
        answer.response.write_head(&mut head);
        Self {
            head,
            body: answer.response.body.to_vec(),
        }
    }
}

/// Whether the body is of this media type, whatever its parameters are.
pub fn is_media_type(content_type: Option<&[u8]>, wanted: &[u8]) -> bool {
    content_type.is_some_and(|value| {
        let end = value.iter().position(|byte| *byte == b';');
        let essence = &value[..end.unwrap_or(value.len())];
        essence.trim_ascii().eq_ignore_ascii_case(wanted)
    })
}

impl PartialEq for StoredResponse {
    fn eq(&self, other: &Self) -> bool {
        self.head.status() == other.head.status()
            && self.head.headers().eq(other.head.headers())
            && self.body == other.body
    }
}

impl Eq for StoredResponse {}
