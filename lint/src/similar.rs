//! The name that was meant.

/// Longest name that is compared; no field or kind is half as long, and the comparison takes time by its square.
const NAME_CHARS_MAX: usize = 64;
/// Most edits between a name and the one that was meant.
const EDITS_MAX: usize = 3;

/// The known name that is nearest to `name`. None: it resembles none of them.
///
/// At most one edit for each three characters: short words are near to each other by chance.
pub(crate) fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let length = name.chars().count();
    if length > NAME_CHARS_MAX {
        return None;
    }
    let most = (length / 3).clamp(1, EDITS_MAX);
    let lower = name.to_lowercase();
    known
        .map(|candidate| (distance(&lower, candidate), candidate))
        .filter(|(edits, _)| *edits <= most)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Edits without regard to case; two swapped letters are one.
fn distance(lower: &str, candidate: &str) -> usize {
    strsim::osa_distance(lower, &candidate.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, wanted: Option<&str>) {
        let known = ["secretName", "dnsNames", "duration", "usages", "uris", "isCA", "issuerRef", "ca"];
        assert_eq!(nearest(name, known.into_iter()), wanted, "{name}");
    }

    #[test]
    fn a_name_that_resembles_nothing_gets_no_answer() {
        check("foo", None);
        check("", None);
        check("organization", None);
        check("issuer", None);
        check(&"secretName".repeat(100), None);
    }

    #[test]
    fn a_typo_is_answered_with_the_name_that_was_meant() {
        check("secretname", Some("secretName"));
        check("secertName", Some("secretName"));
        check("dnsName", Some("dnsNames"));
        check("isCa", Some("isCA"));
        check("issuerref", Some("issuerRef"));
        check("usage", Some("usages"));
    }
}
