//! Malformed requests (RFC 9113 §8.1.1): which refusals reset the stream, and which are answered.

use crate::error::Refusal;

/// Whether a request with this fault is malformed, so that its stream is reset with PROTOCOL_ERROR.
///
/// The other faults are answered with their status: limits, what is not supported, and the rules about Host and the
/// target that a client can break without breaking the protocol. RFC 9113 §8.1.1 allows a response to a malformed
/// request, too, but a client whose framing or fields are wrong would not understand it.
pub(crate) fn is_malformed(refusal: Refusal) -> bool {
    matches!(
        refusal,
        // Fields (§8.2.1, §8.2.2).
        Refusal::EmptyFieldName
            | Refusal::WhitespaceInFieldName
            | Refusal::InvalidFieldName
            | Refusal::ForbiddenByteInFieldValue
            | Refusal::WhitespaceAroundFieldValue
            | Refusal::ConnectionSpecificField
            // Pseudo-header fields (§8.3, §8.3.1), whose values are field values.
            | Refusal::MissingPseudoHeader
            | Refusal::UnknownPseudoHeader
            | Refusal::RepeatedPseudoHeader
            | Refusal::MisplacedPseudoHeader
            | Refusal::InvalidMethod
            | Refusal::RelativeTarget
            | Refusal::ForbiddenByteInTarget
            // The length of the body (§8.1.1).
            | Refusal::InvalidContentLength
            | Refusal::RepeatedContentLength
            | Refusal::ContentLengthOverflow
            | Refusal::TruncatedBody
            | Refusal::BodyBeyondLength
            // The order of frames (§8.1).
            | Refusal::TrailersWithoutEnd
    )
}
