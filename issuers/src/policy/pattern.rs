//! Texts with stars.

/// A text in which `*` stands for one or more characters, but for none that separate the parts of a name.
///
/// A star of the name itself is a character like any other: `*.example.org` permits the wildcard name
/// `*.example.org`, which stands for no more names than the pattern does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    text: String,
    separators: &'static str,
}

impl Pattern {
    /// A pattern; none of the `separators` is ever what a star stands for.
    pub(super) fn new(text: impl Into<String>, separators: &'static str) -> Self {
        Self { text: text.into(), separators }
    }

    /// Whether it means more than one text.
    pub(super) fn has_star(&self) -> bool {
        self.text.contains('*')
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
                        !self.separators.contains(character) && (without || with)
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

    fn check(pattern: &str, separators: &'static str, name: &str, expected: bool) {
        assert_eq!(Pattern::new(pattern, separators).matches(name), expected, "{pattern} for {name}");
    }

    #[test]
    fn a_star_is_never_nothing_and_never_a_separator() {
        check("*.example.org", ".", "example.org", false);
        check("*.example.org", ".", ".example.org", false);
        check("*.example.org", ".", "a.b.example.org", false);
        check("*.example.org", ".", "a.example.org.", false);
        check("spiffe://td/ns/*/sa/web", "/", "spiffe://td/ns/a/sa/b/sa/web", false);
        check("a", "", "", false);
        check("", "", "a", false);
        check("a*", "", "a", false);
        check("web", "", "WEB", false);
    }

    #[test]
    fn a_star_stands_for_characters() {
        check("*.example.org", ".", "a.example.org", true);
        check("*.example.org", ".", "*.example.org", true);
        check("web-*.*.svc", ".", "web-1.team-a.svc", true);
        check("a*b*c", "", "aXbYbZc", true);
        check("*", "", "a/b.c", true);
        check("web", "", "web", true);
        check("", "", "", true);
    }

    #[test]
    fn many_stars_cost_no_more_than_the_product_of_the_lengths() {
        check(&"*a".repeat(100), "", &"a".repeat(10_000), true);
        check(&format!("{}b", "*a".repeat(100)), "", &"a".repeat(10_000), false);
    }
}
