//! The record of a span in shared memory: numbers of fixed length, then texts with their lengths.
//!
//! Invariant: what is read is what was written, or nothing. A text is cut to [`LONGEST_TEXT`] when it is written.

/// Bytes of a text that are kept.
const LONGEST_TEXT: usize = 1024;

/// A request that was answered, or lost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpanRecord<T> {
    /// Not 0.
    pub trace_id: u128,
    /// Not 0.
    pub span_id: u64,
    /// The span of the peer; 0: the trace begins here.
    pub parent_id: u64,
    /// Flags of the trace.
    pub flags: u8,
    /// When the first byte of the request was received: nanoseconds since 1970.
    pub began: u64,
    /// Nanoseconds until the last byte of the response was sent.
    pub duration: u64,
    /// Nanoseconds for which it waited for a thread; 0 also if it never got one.
    pub queued: u64,
    /// Nanoseconds between a proxy's `X-Request-Start` and `began`.
    pub queued_before: u64,
    /// The status that was sent, or would have been.
    pub status: u16,
    /// Whether the client speaks TLS, to this server or to a trusted proxy.
    pub is_https: bool,
    /// Spans that could not be written before this one.
    pub lost_before: u64,
    /// The texts, in the order of [`SpanText`].
    pub texts: [T; SpanText::COUNT],
}

/// The texts of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanText {
    /// The method.
    Method,
    /// The path as it was sent.
    Path,
    /// The query without its `?`; empty: there is none, or it is not shown.
    Query,
    /// The host as it was sent, perhaps with a port.
    Host,
    /// The address of the client; empty on a unix socket.
    Client,
    /// `HTTP/1.1` and the like.
    Protocol,
    /// The field User-Agent.
    UserAgent,
    /// The id of the request.
    RequestId,
    /// The field `tracestate`.
    TraceState,
    /// Why there was no complete response, as in the access log; empty: there was one.
    Failure,
}

impl SpanText {
    /// How many there are.
    pub const COUNT: usize = Self::Failure as usize + 1;
}

impl<T: AsRef<[u8]>> SpanRecord<T> {
    /// One of the texts.
    pub fn text(&self, text: SpanText) -> &[u8] {
        self.texts[text as usize].as_ref()
    }

    /// Appends the record to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.trace_id.to_le_bytes());
        for number in [
            self.span_id,
            self.parent_id,
            self.began,
            self.duration,
            self.queued,
            self.queued_before,
            self.lost_before,
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.status.to_le_bytes());
        out.extend_from_slice(&[self.flags, self.is_https.into()]);
        for (index, text) in self.texts.iter().enumerate() {
            let text = match text.as_ref() {
                // Never a part of an entry (W3C Trace Context §3.3.1.5).
                long if index == SpanText::TraceState as usize && long.len() > LONGEST_TEXT => b"",
                text => &text[..text.len().min(LONGEST_TEXT)],
            };
            out.extend_from_slice(&(text.len() as u16).to_le_bytes());
            out.extend_from_slice(text);
        }
    }
}

impl<'r> SpanRecord<&'r [u8]> {
    /// Reads a record; `None`: it is not one.
    pub fn decode(record: &'r [u8]) -> Option<Self> {
        let mut rest = Rest(record);
        let trace_id = u128::from_le_bytes(rest.array()?);
        let mut numbers = [0; 7];
        for number in &mut numbers {
            *number = u64::from_le_bytes(rest.array()?);
        }
        let [
            span_id,
            parent_id,
            began,
            duration,
            queued,
            queued_before,
            lost_before,
        ] = numbers;
        let status = u16::from_le_bytes(rest.array()?);
        let [flags, is_https] = rest.array()?;
        let mut texts: [&[u8]; SpanText::COUNT] = [b""; SpanText::COUNT];
        for text in &mut texts {
            let length = u16::from_le_bytes(rest.array()?);
            *text = rest.take(length.into())?;
        }
        rest.0.is_empty().then_some(Self {
            trace_id,
            span_id,
            parent_id,
            flags,
            began,
            duration,
            queued,
            queued_before,
            status,
            is_https: is_https != 0,
            lost_before,
            texts,
        })
    }
}

struct Rest<'r>(&'r [u8]);

impl<'r> Rest<'r> {
    fn take(&mut self, length: usize) -> Option<&'r [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(texts: [&[u8]; SpanText::COUNT]) -> SpanRecord<&[u8]> {
        SpanRecord {
            trace_id: u128::MAX - 1,
            span_id: 2,
            parent_id: 3,
            flags: 1,
            began: 4,
            duration: 5,
            queued: 6,
            queued_before: 7,
            status: 503,
            is_https: true,
            lost_before: 8,
            texts,
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written_or_not_at_all() {
        let mut texts: [&[u8]; SpanText::COUNT] = [b""; SpanText::COUNT];
        texts[SpanText::Method as usize] = b"GET";
        texts[SpanText::Path as usize] = b"/\xff";
        texts[SpanText::Failure as usize] = b"expired";
        let written = record(texts);
        let mut bytes = Vec::new();
        written.encode(&mut bytes);
        assert_eq!(SpanRecord::decode(&bytes), Some(written));
        for length in 0..bytes.len() {
            assert_eq!(SpanRecord::decode(&bytes[..length]), None, "{length}");
        }
        bytes.push(0);
        assert_eq!(SpanRecord::decode(&bytes), None);
    }

    #[test]
    fn a_long_text_is_cut() {
        let long = vec![b'a'; LONGEST_TEXT + 1];
        let mut bytes = Vec::new();
        record([&long; SpanText::COUNT]).encode(&mut bytes);
        let read = SpanRecord::decode(&bytes).unwrap();
        assert_eq!(read.text(SpanText::Path), &long[..LONGEST_TEXT]);
        assert_eq!(read.text(SpanText::TraceState), b"", "no entry is cut");
    }
}
