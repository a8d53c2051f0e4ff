//! One record of comma-separated values with the rules of Go's `encoding/csv`: double quotes guard commas, a doubled
//! quote inside them is a quote, nothing is trimmed, empty lines do not count.

use std::iter::Peekable;
use std::str::Chars;

/// Why a text is not one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CsvError {
    /// A quote inside a value that does not begin with one.
    #[error("a value that holds a double quote must stand in double quotes, with the inner one doubled")]
    BareQuote,
    /// A quoted value that does not end, or goes on behind its closing quote.
    #[error("a double quote is not closed, or is followed by something other than a comma")]
    Quote,
    /// More than one line.
    #[error("the list must stand in one line")]
    LineBreak,
}

/// The values of `text`; none for an empty text.
///
/// # Errors
/// When it is not exactly one record.
pub fn record(text: &str) -> Result<Vec<String>, CsvError> {
    // Go drops a carriage return in front of each line feed and at the very end.
    let text = text.replace("\r\n", "\n");
    let text = text.strip_suffix('\r').unwrap_or(&text);
    // Empty lines are no records, so those around the one record are allowed.
    let text = text.trim_matches('\n');
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut chars = text.chars().peekable();
    let mut values = Vec::new();
    loop {
        let value = match chars.peek() {
            Some('"') => quoted(&mut chars)?,
            _ => plain(&mut chars)?,
        };
        values.push(value);
        match chars.next() {
            None => return Ok(values),
            Some(',') => {}
            Some('\n') => return Err(CsvError::LineBreak),
            Some(_) => return Err(CsvError::Quote),
        }
    }
}

fn plain(chars: &mut Peekable<Chars<'_>>) -> Result<String, CsvError> {
    let mut value = String::new();
    while let Some(c) = chars.next_if(|c| !matches!(c, ',' | '\n')) {
        if c == '"' {
            return Err(CsvError::BareQuote);
        }
        value.push(c);
    }
    Ok(value)
}

fn quoted(chars: &mut Peekable<Chars<'_>>) -> Result<String, CsvError> {
    let mut value = String::new();
    chars.next();
    loop {
        match chars.next() {
            None => return Err(CsvError::Quote),
            Some('"') if chars.next_if_eq(&'"').is_none() => return Ok(value),
            Some(c) => value.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&[&str], CsvError>) {
        let got = record(text);
        let expected = expected.map(|values| values.iter().map(ToString::to_string).collect());
        assert_eq!(got, expected, "{text:?}");
    }

    #[test]
    fn stray_quotes_and_second_lines_are_refused() {
        check("a\"b", Err(CsvError::BareQuote));
        check(" \"a\"", Err(CsvError::BareQuote));
        check("\"a", Err(CsvError::Quote));
        check("\"a\"b", Err(CsvError::Quote));
        check("\"a\" ,b", Err(CsvError::Quote));
        check("a\nb", Err(CsvError::LineBreak));
        check("a\r\nb", Err(CsvError::LineBreak));
    }

    #[test]
    fn values_are_split_at_commas_outside_quotes_and_never_trimmed() {
        check("", Ok(&[]));
        check("\n", Ok(&[]));
        check("\na\n", Ok(&["a"]));
        check("a, b,", Ok(&["a", " b", ""]));
        check("\"a,b\",c", Ok(&["a,b", "c"]));
        check("\"say \"\"hi\"\"\"", Ok(&["say \"hi\""]));
        check("\"two\nlines\"", Ok(&["two\nlines"]));
        check("\"\"", Ok(&[""]));
    }
}
