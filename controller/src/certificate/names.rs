//! Names of what is made for a Certificate. They are fixed, so that creating one of them is a lock: two controllers, or two
//! looks at an old state, cannot make two.

use issuance::fingerprint::Fingerprint;

/// Longest name of an object (RFC 1123 subdomain, as Kubernetes has it).
const NAME_BYTES_MAX: usize = 253;

/// A hyphen and the longest revision in decimal.
const REVISION_BYTES_MAX: usize = 20;

/// SHA-256 in hexadecimal.
const HASH_BYTES: usize = 64;

/// Between the Certificate and the revision in the name of a key's Secret.
const NEXT_KEY: &str = "-next-key";

/// The CertificateRequest of a revision, as the peer calls it.
pub fn request(certificate: &str, revision: i64) -> String {
    format!("{}-{revision}", shortened(certificate, NAME_BYTES_MAX - REVISION_BYTES_MAX))
}

/// The Secret with the private key of a revision while that is being issued.
pub fn key_secret(certificate: &str, revision: i64) -> String {
    format!("{}{revision}", key_secret_prefix(certificate))
}

/// Whether a Secret is called like the key of some revision of this Certificate.
pub fn is_key_secret(name: &str, certificate: &str) -> bool {
    let revision = name.strip_prefix(&key_secret_prefix(certificate));
    revision.is_some_and(|revision| revision.parse::<i64>().is_ok())
}

fn key_secret_prefix(certificate: &str) -> String {
    let bytes_max = NAME_BYTES_MAX - REVISION_BYTES_MAX - NEXT_KEY.len();
    format!("{}{NEXT_KEY}-", shortened(certificate, bytes_max))
}

/// The name if it is short enough, else its beginning, up to a letter or digit, and its hash.
fn shortened(name: &str, bytes_max: usize) -> String {
    if name.len() <= bytes_max {
        return name.to_owned();
    }
    let kept = bytes_max - HASH_BYTES - 1;
    let beginning: String = name.bytes().take(kept).filter(u8::is_ascii).map(char::from).collect();
    let beginning = beginning.trim_end_matches(|character: char| !character.is_ascii_alphanumeric());
    let hash = Fingerprint::of(name.as_bytes());
    if beginning.is_empty() { hash.to_string() } else { format!("{beginning}-{hash}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let long = |last: &str| format!("{}{last}", "a".repeat(252));
        for revision in [1, i64::MAX] {
            assert_ne!(request(&long("b"), revision), request(&long("c"), revision));
            for name in [request(&long("b"), revision), key_secret(&long("b"), revision)] {
                assert!(name.len() <= NAME_BYTES_MAX, "{} bytes", name.len());
            }
        }
    }

    #[test]
    fn a_cut_name_is_the_one_of_the_peer() {
        // 168 bytes of the name are kept; what does not end in a letter or digit is cut back further.
        let name = format!("{}{}", "b".repeat(160), ".".repeat(80));
        let hash = Fingerprint::of(name.as_bytes());
        assert_eq!(request(&name, 7), format!("{}-{hash}-7", "b".repeat(160)));
        let name = "c".repeat(234);
        assert_eq!(request(&name, 7), format!("{}-{}-7", "c".repeat(168), Fingerprint::of(name.as_bytes())));
        assert_eq!(request(&"d".repeat(233), 7), format!("{}-7", "d".repeat(233)));
    }

    #[test]
    fn only_keys_of_the_same_certificate_are_told_by_their_name() {
        assert_eq!(key_secret("web", 3), "web-next-key-3");
        assert!(is_key_secret("web-next-key-3", "web"));
        assert!(!is_key_secret("web-next-key-", "web"));
        assert!(!is_key_secret("web-next-key-x", "web"));
        assert!(!is_key_secret("web-7h2kd", "web"));
        assert!(!is_key_secret("web-next-key-3", "we"));
    }
}
