//! What the annotations may say by which an object asks for a CA bundle.

/// Longest name of a Secret, Certificate or namespace (RFC 1123 subdomain).
const NAME_LENGTH_MAX: usize = 253;

/// Namespace and name of the Secret or Certificate that a value names. `None`: it is not `NAMESPACE/NAME`.
pub fn reference(value: &str) -> Option<(&str, &str)> {
    value.split_once('/').filter(|(namespace, name)| is_name(namespace) && is_name(name))
}

/// Whether the API server could have an object of this name: it keeps nonsense away from request paths and selectors.
pub fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=NAME_LENGTH_MAX).contains(&text.len())
        && text.bytes().all(|b| allowed(b) || b == b'-' || b == b'.')
        && text.bytes().next().is_some_and(allowed)
        && text.bytes().last().is_some_and(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_no_object_is_refused() {
        let long = format!("a/{}", "x".repeat(NAME_LENGTH_MAX + 1));
        for value in [
            "", "name", "/name", "ns/", "ns/a/b", " ns/name", "ns/name ", "NS/name", "ns/-a", "ns/a=b,c",
            &long,
        ] {
            assert_eq!(reference(value), None, "{value}");
        }
    }

    #[test]
    fn namespace_and_name_are_told_apart() {
        assert_eq!(reference("team-a/ca.v2"), Some(("team-a", "ca.v2")));
    }
}
