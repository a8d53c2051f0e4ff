//! Variables in volume attributes, with the rules of Go's `os.Expand` to the letter, since that is what pods in the
//! field were written against: `$NAME`, `${NAME}`, no escape, broken braces vanish, a last lone `$` stays.

/// The variables that exist, for messages.
pub const VARIABLES: [&str; 4] = ["POD_NAME", "POD_NAMESPACE", "POD_UID", "SERVICE_ACCOUNT_NAME"];

/// An attribute asks for a variable that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no variable {name:?}; the variables are {}", VARIABLES.join(", "))]
pub struct UnknownVariable {
    /// The name between the dollar sign, or the braces, and what follows.
    pub name: String,
}

/// Replaces every variable in `text` by what `value` says of its name.
///
/// # Errors
/// The first name for which `value` has nothing.
pub fn expand<'v>(text: &str, value: impl Fn(&str) -> Option<&'v str>) -> Result<String, UnknownVariable> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let (name, tail) = match after.chars().next() {
            // Nothing follows: the dollar sign stands for itself.
            None => {
                expanded.push('$');
                return Ok(expanded);
            }
            Some('{') => braced(after),
            Some(first) => bare(after, first),
        };
        match name {
            Name::Variable(name) => {
                let found = value(name).ok_or_else(|| UnknownVariable { name: name.to_owned() })?;
                expanded.push_str(found);
            }
            Name::Dollar => expanded.push('$'),
            Name::Broken => {}
        }
        rest = tail;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// What stands behind a dollar sign.
enum Name<'t> {
    /// A variable.
    Variable(&'t str),
    /// Nothing that could be one; the dollar sign stays.
    Dollar,
    /// Braces that hold nothing or never close; they vanish together with the dollar sign.
    Broken,
}

/// `after` begins with an opening brace. An unclosed brace vanishes alone, the text behind it stays.
fn braced(after: &str) -> (Name<'_>, &str) {
    let inside = after.strip_prefix('{').unwrap_or(after);
    match inside.split_once('}') {
        Some(("", tail)) => (Name::Broken, tail),
        Some((name, tail)) => (Name::Variable(name), tail),
        None => (Name::Broken, inside),
    }
}

/// A name without braces: one special character or digit, else letters, digits and underscores.
fn bare(after: &str, first: char) -> (Name<'_>, &str) {
    let end = if is_special(first) {
        first.len_utf8()
    } else {
        after.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(after.len())
    };
    match after.split_at(end) {
        ("", tail) => (Name::Dollar, tail),
        (name, tail) => (Name::Variable(name), tail),
    }
}

/// Characters that are a whole variable name of the shell's by themselves.
fn is_special(c: char) -> bool {
    matches!(c, '*' | '#' | '$' | '@' | '!' | '?' | '-' | '0'..='9')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        let got = expand(text, |name| match name {
            "POD_NAME" => Some("web-0"),
            "POD_UID" => Some(""),
            _ => None,
        });
        let expected = match expected {
            Ok(text) => Ok(text.to_owned()),
            Err(name) => Err(UnknownVariable { name: name.to_owned() }),
        };
        assert_eq!(got, expected, "{text:?}");
    }

    #[test]
    fn a_name_that_is_no_variable_is_refused() {
        check("$NODE", Err("NODE"));
        check("$POD_NAMEx", Err("POD_NAMEx"));
        check("$$", Err("$"));
        check("$1a", Err("1"));
        check("${POD_NAME", Ok("POD_NAME"));
        check("${ POD_NAME}", Err(" POD_NAME"));
        check("${a${POD_NAME}}", Err("a${POD_NAME"));
        check("${\u{e9}}", Err("\u{e9}"));
    }

    #[test]
    fn dollar_signs_that_begin_no_name_are_kept_or_dropped_as_go_does() {
        check("100$", Ok("100$"));
        check("a$.b", Ok("a$.b"));
        check("a${}b", Ok("ab"));
        check("a${", Ok("a"));
        check("$\u{e9}", Ok("$\u{e9}"));
    }

    #[test]
    fn variables_are_replaced_in_both_forms() {
        check("", Ok(""));
        check("plain", Ok("plain"));
        check("$POD_NAME.$POD_NAME", Ok("web-0.web-0"));
        check("${POD_NAME}x-$POD_NAME", Ok("web-0x-web-0"));
        check("[$POD_UID]", Ok("[]"));
    }
}
