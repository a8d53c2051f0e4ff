//! Whether an answer says that a request had success. Pure.
//!
//! HTTP says so by its status. A gRPC call has status 200 whatever came of it: its own status is in `grpc-status`, in the
//! header where nothing else is answered, or else after the body (gRPC over HTTP/2, "Responses").

use http::{HeaderMap, StatusCode, header};

/// The field that says what came of a gRPC call.
const GRPC_STATUS: &str = "grpc-status";

/// The value of that field for success.
const GRPC_OK: &[u8] = b"0";

/// The media type of gRPC; what follows it is the encoding of messages.
const GRPC: &[u8] = b"application/grpc";

/// What the head of an answer tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    /// The request had success.
    Success,
    /// It had none.
    Failure,
    /// What comes after the body tells.
    AtEnd,
}

/// What the head of an answer tells of its request.
pub(super) fn of_head(status: StatusCode, headers: &HeaderMap) -> Head {
    let is_grpc = headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(GRPC));
    match (status.is_success(), is_grpc, headers.contains_key(GRPC_STATUS)) {
        (false, _, _) => Head::Failure,
        (true, false, false) => Head::Success,
        (true, true, false) => Head::AtEnd,
        (true, _, true) if is_ok(headers) => Head::Success,
        (true, _, true) => Head::Failure,
    }
}

/// Whether what comes after the body of a gRPC answer tells of success.
pub(super) fn is_ok(trailers: &HeaderMap) -> bool {
    trailers.get(GRPC_STATUS).is_some_and(|value| value.as_bytes() == GRPC_OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn check(status: u16, fields: &[(&'static str, &'static str)], wanted: Head) {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(of_head(status, &headers(fields)), wanted, "{status} {fields:?}");
    }

    #[test]
    fn what_failed_has_no_success() {
        check(404, &[], Head::Failure);
        check(500, &[("grpc-status", "0")], Head::Failure);
        check(415, &[("content-type", "application/grpc")], Head::Failure);
        check(200, &[("content-type", "application/grpc"), ("grpc-status", "16")], Head::Failure);
        check(200, &[("content-type", "application/grpc"), ("grpc-status", "00")], Head::Failure);
        for trailers in [&[][..], &[("grpc-status", "8")], &[("grpc-status", "")]] {
            assert!(!is_ok(&headers(trailers)), "{trailers:?}");
        }
    }

    #[test]
    fn a_grpc_answer_with_a_body_is_known_at_its_end() {
        check(200, &[("content-type", "application/grpc+proto")], Head::AtEnd);
        assert!(is_ok(&headers(&[("grpc-status", "0")])));
    }

    #[test]
    fn other_answers_are_known_by_their_status() {
        check(200, &[("content-type", "application/json")], Head::Success);
        check(204, &[], Head::Success);
        check(200, &[("content-type", "application/grpc"), ("grpc-status", "0")], Head::Success);
    }
}
