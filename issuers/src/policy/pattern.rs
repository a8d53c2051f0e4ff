//! Texts with stars.

/// A text in which `*` stands for one or more characters, but not for the one that separates the parts of a name.
///
/// A star of the name itself is a character like any other: `*.example.org` permits the wildcard name
/// `*.example.org`, which stands for no more names than the pattern does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    text: String,
    separator: Option<char>,
}

impl Pattern {
    /// A pattern; `separator` is never what a star stands for.
    pub(super) fn new(text: impl Into<String>, separator: Option<char>) -> Self {
        Self { text: text.into(), separator }
    }

    /// Whether `name` is what the pattern means. Takes at most the product of both lengths.
    pub(super) fn matches(&self, name: &str) -> bool {
        let pattern: Vec<char> = self.text.chars().collect();
        let name: Vec<char> = name.chars().collect();
        // ends[p]: the first p characters of the pattern match the characters of the name that were looked at.
        let mut ends = vec![false; pattern.len().saturating_add(1)];
        if let Some(start) = ends.first_mut() {
            *start = true;
        }
        for character in name {
            let before = std::mem::take(&mut ends);
            ends = std::iter::once(false)
                .chain(pattern.iter().zip(before.windows(2)).map(|(wanted, reached)| {
                    let (without, with) = (reached.first() == Some(&true), reached.last() == Some(&true));
                    if *wanted == '*' {
                        Some(character) != self.separator && (without || with)
                    } else {
                        *wanted == character && without
                    }
                }))
                .collect();
        }
        ends.last() == Some(&true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, separator: Option<char>, name: &str, expected: bool) {
        assert_eq!(Pattern::new(pattern, separator).matches(name), expected, "{pattern} for {name}");
    }

    #[test]
    fn a_star_is_never_nothing_and_never_a_separator() {
        check("*.example.org", Some('.'), "example.org", false);
        check("*.example.org", Some('.'), ".example.org", false);
        check("*.example.org", Some('.'), "a.b.example.org", false);
        check("*.example.org", Some('.'), "a.example.org.", false);
        check("spiffe://td/ns/*/sa/web", Some('/'), "spiffe://td/ns/a/sa/b/sa/web", false);
        check("a", None, "", false);
        check("", None, "a", false);
        check("a*", None, "a", false);
        check("web", None, "WEB", false);
    }

    #[test]
    fn a_star_stands_for_characters() {
        check("*.example.org", Some('.'), "a.example.org", true);
        check("*.example.org", Some('.'), "*.example.org", true);
        check("web-*.*.svc", Some('.'), "web-1.team-a.svc", true);
        check("a*b*c", None, "aXbYbZc", true);
        check("*", None, "a/b.c", true);
        check("web", None, "web", true);
        check("", None, "", true);
    }

    #[test]
    fn many_stars_cost_no_more_than_the_product_of_the_lengths() {
        check(&"*a".repeat(100), None, &"a".repeat(10_000), true);
        check(&format!("{}b", "*a".repeat(100)), None, &"a".repeat(10_000), false);
    }
}
