//! Configuration files: YAML with a version and a kind, read strictly. What is wrong is told with its line, and an
//! unknown key with the one that was probably meant.

use std::fmt;
use std::io::Read as _;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::de::{DeserializeOwned, IntoDeserializer as _, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::{Error, options};

/// Largest file: what a ConfigMap can hold.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What a file says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// `apiVersion`, such as `webhook.config.cert-manager.io/v1alpha1`.
    pub api_version: &'static str,
    /// `kind`, such as `WebhookConfiguration`.
    pub kind: &'static str,
}

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// It is larger than 1 MiB.
    #[error("the configuration file {} is larger than {FILE_BYTES_MAX} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Its content is not what it should be.
    #[error("the configuration file {} cannot be used", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ContentError,
    },
}

/// What is wrong with the content of a configuration file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// There is nothing in it.
    #[error("it is empty; it begins with apiVersion: {} and kind: {}", .0.api_version, .0.kind)]
    Empty(Identity),
    /// It is of another version or kind.
    #[error(
        "it is {kind:?} of {api_version:?}; this process reads {} of {}", .wanted.kind, .wanted.api_version
    )]
    Identity {
        /// The version as written.
        api_version: String,
        /// The kind as written.
        kind: String,
        /// What would be right.
        wanted: Identity,
    },
    /// Something in it is wrong.
    #[error("line {line}, column {column}: {message}")]
    At {
        /// Line, from 1.
        line: u64,
        /// Character in that line, from 1.
        column: u64,
        /// What is wrong, and what would be right.
        message: String,
    },
}

/// Reads the file at `path`, which must be what `identity` says.
///
/// `T` takes a key `apiVersion` and a key `kind` and denies unknown ones (`deny_unknown_fields`).
///
/// # Errors
/// When it cannot be read, or holds anything else than a `T`.
pub fn read<T: DeserializeOwned>(path: &Path, identity: Identity) -> Result<T, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX.saturating_add(1)).read_to_string(&mut text).map_err(failed)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(ConfigError::TooLarge { path: path.to_owned() });
    }
    parse(&text, identity).map_err(|source| ConfigError::Content { path: path.to_owned(), source })
}

/// The same of a text.
///
/// # Errors
/// When it holds anything else than a `T`.
pub fn parse<T: DeserializeOwned>(text: &str, identity: Identity) -> Result<T, ContentError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Meta {
        #[serde(default)]
        api_version: String,
        #[serde(default)]
        kind: String,
    }
    if text.lines().all(|line| matches!(line.trim_start().chars().next(), None | Some('#'))) {
        return Err(ContentError::Empty(identity));
    }
    // First of all what it is: the keys of another kind would all be unknown.
    let Meta { api_version, kind } = document(text)?;
    if (api_version.as_str(), kind.as_str()) != (identity.api_version, identity.kind) {
        return Err(ContentError::Identity { api_version, kind, wanted: identity });
    }
    document(text)
}

/// A path that a configuration file names: relative ones begin at the folder of the file.
pub fn resolve(file: &Path, named: PathBuf) -> PathBuf {
    match file.parent() {
        Some(folder) if !named.as_os_str().is_empty() => folder.join(named),
        _ => named,
    }
}

/// A number or a truth value, without quotes: a field that would be taken with them too, if it were no more than a `T`,
/// which Kubernetes refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plain<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Plain<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PlainVisitor(PhantomData)).map(Self)
    }
}

impl<T> Plain<T> {
    /// The value of a key, if it is there.
    pub fn of(key: Option<Self>) -> Option<T> {
        key.map(|Self(value)| value)
    }
}

struct PlainVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for PlainVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, true or false, without quotes")
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<T, E> {
        T::deserialize(value.into_deserializer())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<T, E> {
        T::deserialize(value.into_deserializer())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<T, E> {
        T::deserialize(value.into_deserializer())
    }
}

/// A value that is written as text, in the form in which flags take it. As in the peers, an empty text is none at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text<T>(pub Option<T>);

// By hand, because a derive would ask for `T: Default`.
impl<T> Default for Text<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Text<T> {
    /// The value of a flag, if there is one.
    pub fn of(flag: Option<Self>) -> Option<T> {
        flag.and_then(|Self(value)| value)
    }

    /// The items of a list that are not empty.
    pub fn all(items: Vec<Self>) -> Vec<T> {
        items.into_iter().filter_map(|Self(item)| item).collect()
    }
}

impl<T: FromStr> FromStr for Text<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text.is_empty() { Ok(Self(None)) } else { text.parse().map(|value| Self(Some(value))) }
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty());
        let parsed = text.map(|text| text.parse()).transpose();
        parsed.map(Self).map_err(serde::de::Error::custom)
    }
}

/// A length of time: text in the form in which flags take it, or a whole number of nanoseconds, which is all that Go
/// itself knows. `T` reads such texts, with `ns` as a unit among others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length<T>(pub T);

impl<T> Length<T> {
    /// The value of a key, if it is there.
    pub fn of(key: Option<Self>) -> Option<T> {
        key.map(|Self(value)| value)
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Length<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LengthVisitor(PhantomData)).map(Self)
    }
}

struct LengthVisitor<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for LengthVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as 168h or 60s, or nanoseconds")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, nanoseconds: u64) -> Result<T, E> {
        self.visit_str(&format!("{nanoseconds}ns"))
    }

    fn visit_i64<E: serde::de::Error>(self, nanoseconds: i64) -> Result<T, E> {
        self.visit_str(&format!("{nanoseconds}ns"))
    }
}

/// Whichever of `known` is so like `name` that it was probably meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    let distance = |candidate: &str| strsim::osa_distance(&wanted, &candidate.to_lowercase());
    let nearest = known.into_iter().map(|candidate| (distance(candidate), candidate)).min()?;
    (nearest.0 <= name.chars().count().div_ceil(3)).then_some(nearest.1)
}

fn document<T: DeserializeOwned>(text: &str) -> Result<T, ContentError> {
    // As Kubernetes reads it: a text that looks like a number is one, unless it is quoted.
    let options = options! { no_schema: true, with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let location = error.location();
        ContentError::At {
            line: location.map_or(1, |location| location.line()),
            column: location.map_or(1, |location| location.column()),
            message: told(&error),
        }
    })
}

fn told(error: &Error) -> String {
    match error {
        Error::SerdeUnknownField { field, expected, .. } => unknown("key", field, expected),
        Error::SerdeUnknownVariant { variant, expected, .. } => unknown("value", variant, expected),
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("the key {key:?} is there twice"),
        Error::QuotingRequired { value, .. } => format!("text is wanted; write \"{value}\" with quotes"),
        Error::Unexpected { expected: "sequence start", .. } => "a list is wanted".to_owned(),
        Error::Unexpected { expected: "mapping start", .. } => "a mapping of keys is wanted".to_owned(),
        Error::MultipleDocuments { .. } => "there is more than one document; remove the others".to_owned(),
        error => {
            let text = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
            // The place is told already.
            text.rsplit_once(" at line ").map_or(text.clone(), |(text, _)| text.to_owned())
        }
    }
}

fn unknown(what: &str, written: &str, known: &[&'static str]) -> String {
    let shown: String = written.chars().take(80).collect();
    match nearest(written, known.iter().copied()) {
        Some(meant) => format!("unknown {what} {shown:?}; did you mean {meant:?}?"),
        None => format!("unknown {what} {shown:?}; known are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use serde::de::IgnoredAny;

    use super::*;

    const IDENTITY: Identity = Identity { api_version: "config.example.org/v1", kind: "Example" };

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Example {
        #[serde(rename = "apiVersion")]
        _api_version: IgnoredAny,
        #[serde(rename = "kind")]
        _kind: IgnoredAny,
        port: Option<Plain<u16>>,
        #[serde(default)]
        names: Vec<String>,
        enabled: Option<Plain<bool>>,
        pause: Option<Length<Pause>>,
        #[serde(default)]
        address: Text<std::net::IpAddr>,
        inner: Option<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Inner {
        first_name: String,
        mode: Option<Mode>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase")]
    enum Mode {
        Fast,
        Slow,
    }

    /// Seconds or nanoseconds, and what was written.
    #[derive(Debug, PartialEq)]
    struct Pause(String);

    impl FromStr for Pause {
        type Err = &'static str;

        fn from_str(text: &str) -> Result<Self, &'static str> {
            if text.ends_with('s') { Ok(Self(text.to_owned())) } else { Err("no unit") }
        }
    }

    fn with(text: &str) -> Result<Example, String> {
        let text = format!("apiVersion: config.example.org/v1\nkind: Example\n{text}");
        parse(&text, IDENTITY).map_err(|error| error.to_string())
    }

    fn refused(text: &str, wanted: &str) {
        assert_eq!(with(text).unwrap_err(), wanted, "for {text}");
    }

    #[test]
    fn a_file_of_another_kind_is_refused_before_its_keys() {
        let refused = |text: &str, wanted: &str| {
            assert_eq!(parse::<Example>(text, IDENTITY).unwrap_err().to_string(), wanted, "for {text}");
        };
        let empty = "it is empty; it begins with apiVersion: config.example.org/v1 and kind: Example";
        refused("", empty);
        refused("\n  # nothing\n", empty);
        refused(
            "apiVersion: v1\nkind: ConfigMap\ndata: {}\n",
            "it is \"ConfigMap\" of \"v1\"; this process reads Example of config.example.org/v1",
        );
        refused("port: 1\n", "it is \"\" of \"\"; this process reads Example of config.example.org/v1");
    }

    #[test]
    fn an_unknown_key_is_told_with_its_line_and_the_one_that_was_meant() {
        refused(
            "port: 1\nenabld: true\n",
            "line 4, column 1: unknown key \"enabld\"; did you mean \"enabled\"?",
        );
        refused("Port: 1\n", "line 3, column 1: unknown key \"Port\"; did you mean \"port\"?");
        refused(
            "inner:\n  firstName: a\n  colour: red\n",
            "line 5, column 3: unknown key \"colour\"; known are firstName, mode",
        );
        refused("port: 1\nport: 2\n", "line 4, column 1: the key \"port\" is there twice");
    }

    #[test]
    fn a_value_of_a_wrong_type_is_told_with_its_line() {
        refused(
            "port: \"1\"\n",
            "line 3, column 1: invalid type: string \"1\", expected a number, true or false, without quotes",
        );
        refused(
            "port: many\n",
            "line 3, column 1: invalid type: string \"many\", expected a number, true or false, without quotes",
        );
        refused("port: 70000\n", "line 3, column 1: invalid value: integer `70000`, expected u16");
        refused("port: -1\n", "line 3, column 1: invalid value: integer `-1`, expected u16");
        refused(
            "port: [1]\n",
            "line 3, column 1: invalid type: sequence, expected a number, true or false, without quotes",
        );
        refused(
            "enabled: \"true\"\n",
            "line 3, column 1: invalid type: string \"true\", expected a number, true or false, without quotes",
        );
        refused("enabled: 1\n", "line 3, column 1: invalid type: integer `1`, expected a boolean");
        refused("address: here\n", "line 3, column 10: invalid IP address syntax");
        refused("names: a\n", "line 3, column 8: a list is wanted");
        refused("names: [1]\n", "line 3, column 9: text is wanted; write \"1\" with quotes");
        refused("pause: \"60\"\n", "line 3, column 8: no unit");
        refused(
            "pause: true\n",
            "line 3, column 1: invalid type: boolean `true`, expected a duration such as 168h or 60s, or nanoseconds",
        );
        refused("inner: a\n", "line 3, column 8: a mapping of keys is wanted");
        refused("inner: {}\n", "line 3, column 8: missing field `firstName`");
        refused(
            "inner:\n  firstName: a\n  mode: slo\n",
            "line 5, column 9: unknown value \"slo\"; did you mean \"slow\"?",
        );
        refused(
            "port: 1\n---\nport: 2\n",
            "line 5, column 1: there is more than one document; remove the others",
        );
        refused("port: [\n", "line 3, column 7: unclosed bracket '['");
    }

    #[test]
    fn a_right_file_is_read() {
        let read = with(
            "port: 1\nnames: [a, \"1\"]\nenabled: true\naddress: '::1'\ninner: {firstName: x, mode: slow}\n",
        )
        .unwrap();
        assert_eq!(read.address, Text(Some(std::net::Ipv6Addr::LOCALHOST.into())));
        assert_eq!((read.port, read.enabled, read.names.len()), (Some(Plain(1)), Some(Plain(true)), 2));
        for nothing in ["address: \"\"\n", "address:\n", "port:\n"] {
            assert_eq!(with(nothing).unwrap().address, Text(None), "{nothing}");
        }
        let inner = read.inner.unwrap();
        assert!(inner.first_name == "x" && matches!(inner.mode, Some(Mode::Slow)), "{inner:?}");
        assert!(!matches!(
            with("inner: {firstName: x, mode: fast}").unwrap().inner.unwrap().mode,
            Some(Mode::Slow)
        ));
    }

    #[test]
    fn a_length_of_time_is_text_or_nanoseconds() {
        for (written, wanted) in [("60s", "60s"), ("60000000000", "60000000000ns"), ("-1", "-1ns")] {
            let pause = with(&format!("pause: {written}\n")).unwrap().pause;
            assert_eq!(Length::of(pause), Some(Pause(wanted.to_owned())));
        }
        assert_eq!(Length::of(with("pause:\n").unwrap().pause), None);
    }

    #[test]
    fn a_file_that_is_not_there_is_told_by_name() {
        let error = read::<Example>(Path::new("/nowhere/config.yaml"), IDENTITY).unwrap_err();
        assert_eq!(error.to_string(), "cannot read the configuration file /nowhere/config.yaml");
    }

    #[test]
    fn relative_paths_begin_at_the_folder_of_the_file() {
        let check = |named: &str, wanted: &str| {
            assert_eq!(resolve(Path::new("/etc/app/config.yaml"), named.into()), Path::new(wanted));
        };
        check("tls/key.pem", "/etc/app/tls/key.pem");
        check("/tls/key.pem", "/tls/key.pem");
        check("", "");
        assert_eq!(resolve(Path::new("config.yaml"), "key.pem".into()), Path::new("key.pem"));
    }

    #[test]
    fn what_is_not_alike_is_not_meant() {
        assert_eq!(nearest("colour", ["port", "enabled"]), None);
        assert_eq!(nearest("x", []), None);
        assert_eq!(nearest("prot", ["port", "enabled"]), Some("port"));
    }
}
