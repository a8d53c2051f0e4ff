//! Bounds of the signer's messages, and how they are shown.

use std::fmt;

use crate::signer::SignRequest;

/// The most bytes of a request for a signature: a certificate request of 27 KiB, two tokens of some kilobytes, and room.
pub const REQUEST_BYTES_MAX: usize = 64 << 10;

/// The most bytes of an answer: a chain and a bundle at the limits for Secrets.
pub const RESPONSE_BYTES_MAX: usize = 512 << 10;

/// The most usages of a request: the API has 23 names.
pub const USAGES_MAX: usize = 40;

/// Written by hand because the derived one would print the pod's token.
impl fmt::Debug for SignRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pod, pod_token, issuer, request, duration_seconds, is_ca, usages } = self;
        f.debug_struct("SignRequest")
            .field("pod", pod)
            .field("pod_token_bytes", &pod_token.len())
            .field("issuer", issuer)
            .field("request_bytes", &request.len())
            .field("duration_seconds", duration_seconds)
            .field("is_ca", is_ca)
            .field("usages", usages)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_for_a_signature_never_prints_its_token() {
        let request = SignRequest { pod_token: "hunter2".to_owned(), is_ca: true, ..SignRequest::default() };
        let text = format!("{request:?}");
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("pod_token_bytes: 7") && text.contains("is_ca: true"), "{text}");
    }
}
