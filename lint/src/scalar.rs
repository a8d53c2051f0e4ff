//! What a plain scalar is: by the rules of YAML 1.1 as kubectl goes by them, in which `yes` and `on` are booleans and
//! `0755` is an octal number. Dates stay text.

use serde_json::Number;

use crate::node::Content;

/// The value of unquoted text.
pub(crate) fn plain(text: &str) -> Content {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Content::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Content::Bool { value: true, written: text.to_owned() };
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Content::Bool { value: false, written: text.to_owned() };
        }
        _ => {}
    }
    match number(text) {
        Some(value) => Content::Number { value, written: text.to_owned() },
        None => Content::Text(text.to_owned()),
    }
}

fn number(text: &str) -> Option<Number> {
    if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.')) {
        return None;
    }
    let text = text.replace('_', "");
    integer(&text).or_else(|| float(&text))
}

/// An integer of 64 bits, in the notation of Go's literals.
fn integer(text: &str) -> Option<Number> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => (16, digits.get(2..)?),
        Some("0o") => (8, digits.get(2..)?),
        Some("0b") => (2, digits.get(2..)?),
        Some(_) if digits.starts_with('0') => (8, digits.get(1..)?),
        _ => (10, digits),
    };
    if !digits.starts_with(|first: char| first.is_digit(radix)) {
        return None; // A second sign.
    }
    if let Ok(value) = i64::from_str_radix(&format!("{sign}{digits}"), radix) {
        return Some(value.into());
    }
    if sign.is_empty() { u64::from_str_radix(digits, radix).ok().map(Number::from) } else { None }
}

/// A decimal fraction or a number with an exponent; not what Rust also reads, such as `inf`.
fn float(text: &str) -> Option<Number> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_number = digits.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && digits.chars().all(|each| each.is_ascii_digit() || matches!(each, '.' | 'e' | 'E' | '+' | '-'));
    if is_number { text.parse().ok().and_then(Number::from_f64) } else { None }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::node::Node;
    use crate::position::Position;

    fn check(text: &str, wanted: &Value) {
        let node = Node { at: Position::START, content: plain(text) };
        assert_eq!(node.to_json(), *wanted, "{text:?}");
    }

    #[test]
    fn what_only_resembles_a_number_or_a_boolean_stays_text() {
        for text in [
            "1h",
            "1.2.3.4",
            "--1",
            "+-1",
            "0x",
            "-",
            ".",
            "1e",
            "tRue",
            "inf",
            ".inf",
            "nan",
            "2026-01-01",
            "::1",
        ] {
            check(text, &json!(text));
        }
    }

    #[test]
    fn booleans_and_nulls_are_those_of_kubectl() {
        check("yes", &json!(true));
        check("Off", &json!(false));
        check("n", &json!(false));
        check("~", &Value::Null);
        check("", &Value::Null);
    }

    #[test]
    fn numbers_are_those_of_kubectl() {
        check("2048", &json!(2048));
        check("-7", &json!(-7));
        check("+7", &json!(7));
        check("0755", &json!(493));
        check("0x10", &json!(16));
        check("0b11", &json!(3));
        check("1_000", &json!(1000));
        check("18446744073709551615", &json!(18_446_744_073_709_551_615_u64));
        check("0899", &json!(899.0));
        check("1.5", &json!(1.5));
        check(".5e1", &json!(5.0));
    }
}
