//! What Vault answers: JSON of known shapes, and texts for people that are cut and cleaned.

use std::fmt;

use jiff::Timestamp;
use serde::Deserialize;
use zeroize::Zeroizing;

/// Longest text of Vault's that is shown, in characters.
const TEXT_MAX: usize = 500;

/// Most texts of one answer that are shown.
const TEXTS_MAX: usize = 8;

/// What stands where a secret was: a server may repeat what it was sent.
const REDACTED: &str = "(redacted)";

/// A token of Vault.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub(super) struct Token(Zeroizing<String>);

impl Token {
    /// The token, to be sent.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it can be sent at all: it is not empty, and each character is one that a header can hold.
    pub(super) fn is_sendable(&self) -> bool {
        !self.0.is_empty() && self.0.bytes().all(|byte| byte.is_ascii_graphic())
    }
}

impl From<String> for Token {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// Answer to a login.
#[derive(Debug, Deserialize)]
pub(super) struct LoginAnswer {
    /// Absent where more is needed than this login, such as a second factor.
    pub(super) auth: Option<Auth>,
}

/// What a login brings.
#[derive(Debug, Deserialize)]
pub(super) struct Auth {
    /// The token.
    pub(super) client_token: Token,
    /// For how many seconds it is valid; zero: it does not end by itself.
    #[serde(default)]
    pub(super) lease_duration: u64,
    /// For how many calls it is valid; zero: for any number.
    #[serde(default)]
    pub(super) num_uses: i64,
}

/// Answer to a look at a token.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LookupAnswer {
    /// What is known of it.
    pub(super) data: TokenFacts,
}

/// What Vault knows of a token.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TokenFacts {
    /// When it ends; null: never.
    pub(super) expire_time: Option<Timestamp>,
    /// Its whole life in seconds.
    pub(super) creation_ttl: i64,
}

/// Answer to a signing.
#[derive(Debug, Deserialize)]
pub(super) struct SignAnswer {
    /// What was signed.
    pub(super) data: Option<Signed>,
    /// What Vault did otherwise than it was asked.
    #[serde(default)]
    pub(super) warnings: Option<Vec<String>>,
}

/// What was signed, as PEM.
#[derive(Debug, Deserialize)]
pub(super) struct Signed {
    /// The certificate.
    #[serde(default)]
    pub(super) certificate: String,
    /// The CA that signed it.
    #[serde(default)]
    pub(super) issuing_ca: Option<String>,
    /// That CA, and those above it.
    #[serde(default)]
    pub(super) ca_chain: Option<Vec<String>>,
}

/// A refusal.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Refusal {
    errors: Option<Vec<String>>,
}

/// What Vault says in a refusal, for people. None of `secrets` is in it.
pub(super) fn said(body: &[u8], secrets: &[&str]) -> String {
    let refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
    let texts = texts(refusal.errors.unwrap_or_default(), secrets);
    if texts.is_empty() { "it gives no reason".to_owned() } else { texts.join("; ") }
}

/// Texts of Vault's, for people: some, short, on one line each, and without `secrets`.
pub(super) fn texts(texts: Vec<String>, secrets: &[&str]) -> Vec<String> {
    let shown = texts.into_iter().take(TEXTS_MAX).map(|text| text_for_people(&text, secrets));
    shown.filter(|text| !text.is_empty()).collect()
}

fn text_for_people(text: &str, secrets: &[&str]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, REDACTED);
    }
    let clean: String = text.chars().map(|c| if is_plain(c) { c } else { ' ' }).collect();
    let line = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{}...", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

/// Neither control characters nor those that turn the direction of a text around.
fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(body: &str, expected: &str) {
        assert_eq!(said(body.as_bytes(), &["s.secret", ""]), expected, "{body}");
    }

    #[test]
    fn bodies_that_are_no_refusals_give_no_reason() {
        for body in [
            "",
            "null",
            "[]",
            "<html>s.secret</html>",
            r#"{"errors":null}"#,
            r#"{"errors":[]}"#,
            r#"{"errors":[""]}"#,
        ] {
            check(body, "it gives no reason");
        }
    }

    #[test]
    fn a_text_is_one_short_line_without_what_was_sent() {
        check(
            r#"{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}"#,
            "2 errors occurred: * permission denied * invalid token",
        );
        check(r#"{"errors":["a\u0000b\u001b[31m\u202ec","d"]}"#, "a b [31m c; d");
        check(r#"{"errors":["token s.secret is unknown"]}"#, "token (redacted) is unknown");
        let long = format!(r#"{{"errors":["{}"]}}"#, "\u{e4}".repeat(TEXT_MAX + 1));
        check(&long, &format!("{}...", "\u{e4}".repeat(TEXT_MAX)));
        let many = format!(r#"{{"errors":[{}"x"]}}"#, r#""x","#.repeat(TEXTS_MAX * 2));
        check(&many, &["x"; TEXTS_MAX].join("; "));
    }

    proptest! {
        #[test]
        fn whatever_is_said_is_short_and_plain(errors: Vec<String>, secret in "[a-z]{1,4}", raw: Vec<u8>) {
            let body = serde_json::json!({"errors": errors}).to_string();
            for bytes in [body.as_bytes(), raw.as_slice()] {
                let said = said(bytes, &[&secret]);
                prop_assert!(said.chars().all(is_plain) && !said.is_empty(), "{said:?}");
                prop_assert!(said.chars().count() <= TEXTS_MAX * (TEXT_MAX + 5), "{said:?}");
            }
        }
    }

    #[test]
    fn a_token_is_not_shown() {
        let login: LoginAnswer =
            serde_json::from_str(r#"{"auth":{"client_token":"s.secret","lease_duration":60}}"#).unwrap();
        assert!(!format!("{login:?}").contains("secret"), "{login:?}");
        assert_eq!(login.auth.unwrap().client_token.expose(), "s.secret");
    }
}
