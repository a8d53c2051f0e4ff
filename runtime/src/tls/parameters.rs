//! Versions and cipher suites under the names that Go gives them, as flags and configuration files of the peers do.

use std::str::FromStr;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::{SupportedCipherSuite, SupportedProtocolVersion, version};

use crate::config::nearest;

/// Suites of TLS 1.2 and 1.3 that Go knows and rustls lacks: CBC, RC4 and 3DES, and key exchange by RSA alone.
const LACKING: [&str; 16] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_RSA_WITH_RC4_128_SHA",
];

/// Go's older names of two suites.
const ALIASES: [(&str, &str); 2] = [
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
];

static MODERN: &[&SupportedProtocolVersion] = &[&version::TLS13];

/// The lowest version that is spoken, as it was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// `VersionTLS10`: TLS 1.2 is spoken nevertheless.
    Tls10,
    /// `VersionTLS11`: TLS 1.2 is spoken nevertheless.
    Tls11,
    /// `VersionTLS12`.
    #[default]
    Tls12,
    /// `VersionTLS13`.
    Tls13,
}

impl MinVersion {
    const NAMES: [(&'static str, Self); 4] = [
        ("VersionTLS10", Self::Tls10),
        ("VersionTLS11", Self::Tls11),
        ("VersionTLS12", Self::Tls12),
        ("VersionTLS13", Self::Tls13),
    ];

    /// Whether a lower version was asked for than is ever spoken (RFC 8996).
    pub fn is_clamped(self) -> bool {
        matches!(self, Self::Tls10 | Self::Tls11)
    }

    pub(super) fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Self::Tls10 | Self::Tls11 | Self::Tls12 => rustls::DEFAULT_VERSIONS,
            Self::Tls13 => MODERN,
        }
    }
}

impl FromStr for MinVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::NAMES.into_iter().find(|(name, _)| *name == text);
        known
            .map(|(_, version)| version)
            .ok_or_else(|| format!("{text:?} is no version of TLS; write VersionTLS12 or VersionTLS13"))
    }
}

/// Why a list of cipher suites cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CipherSuiteError {
    /// There is no such suite.
    #[error("{name:?} is no cipher suite{}", .meant.map(|meant| format!("; did you mean {meant:?}?")).unwrap_or_default())]
    Unknown {
        /// The name as written.
        name: String,
        /// A suite with nearly that name.
        meant: Option<&'static str>,
    },
    /// Nothing can be spoken with these.
    #[error("none of the cipher suites can be used; those that can are {}", usable().join(", "))]
    NothingLeft,
}

/// Which suites are spoken.
#[derive(Debug, Clone, PartialEq)]
pub struct CipherSuites {
    suites: Vec<SupportedCipherSuite>,
    dropped: Vec<String>,
}

impl Default for CipherSuites {
    fn default() -> Self {
        Self { suites: aws_lc_rs::DEFAULT_CIPHER_SUITES.to_vec(), dropped: Vec::new() }
    }
}

impl CipherSuites {
    /// The suites of these names. As in Go, they choose among the suites of TLS 1.2 alone: those of TLS 1.3 are all
    /// spoken in any case. Without names it is the default.
    ///
    /// # Errors
    /// When a name is none, or nothing is left of the list.
    pub fn of_names(names: &[impl AsRef<str>]) -> Result<Self, CipherSuiteError> {
        if names.is_empty() {
            return Ok(Self::default());
        }
        let all = aws_lc_rs::ALL_CIPHER_SUITES;
        let (mut chosen, mut dropped) = (Vec::new(), Vec::new());
        for name in names.iter().map(AsRef::as_ref) {
            let alias = ALIASES.into_iter().find(|(alias, _)| *alias == name);
            let wanted = alias.map_or(name, |(_, name)| name);
            match all.iter().find(|suite| name_of(**suite) == Some(wanted)) {
                Some(suite) => chosen.push(*suite),
                None if LACKING.contains(&name) => dropped.push(name.to_owned()),
                None => {
                    let meant = nearest(name, usable());
                    return Err(CipherSuiteError::Unknown { name: name.to_owned(), meant });
                }
            }
        }
        if chosen.is_empty() {
            return Err(CipherSuiteError::NothingLeft);
        }
        let speaks = |suite: &SupportedCipherSuite| suite.tls13().is_some() || chosen.contains(suite);
        Ok(Self { suites: all.iter().copied().filter(speaks).collect(), dropped })
    }

    /// The names that were asked for, and that nobody should speak any more.
    pub fn dropped(&self) -> &[String] {
        &self.dropped
    }

    pub(super) fn provider(&self) -> CryptoProvider {
        CryptoProvider { cipher_suites: self.suites.clone(), ..aws_lc_rs::default_provider() }
    }
}

/// The names of all suites that can be spoken.
fn usable() -> Vec<&'static str> {
    aws_lc_rs::ALL_CIPHER_SUITES.iter().copied().filter_map(name_of).collect()
}

/// Go's name of a suite, which for those of TLS 1.3 differs from the one in rustls.
fn name_of(suite: SupportedCipherSuite) -> Option<&'static str> {
    let name = suite.suite().as_str()?;
    Some(match name {
        "TLS13_AES_128_GCM_SHA256" => "TLS_AES_128_GCM_SHA256",
        "TLS13_AES_256_GCM_SHA384" => "TLS_AES_256_GCM_SHA384",
        "TLS13_CHACHA20_POLY1305_SHA256" => "TLS_CHACHA20_POLY1305_SHA256",
        name => name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suites(names: &[&str]) -> Result<Vec<&'static str>, String> {
        let chosen = CipherSuites::of_names(names).map_err(|error| error.to_string())?;
        Ok(chosen
            .suites
            .iter()
            .copied()
            .filter(|suite| suite.tls13().is_none())
            .filter_map(name_of)
            .collect())
    }

    #[test]
    fn a_list_that_leaves_nothing_is_refused_with_what_would_work() {
        let error =
            suites(&["TLS_RSA_WITH_AES_128_CBC_SHA", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA"]).unwrap_err();
        assert_eq!(
            error,
            "none of the cipher suites can be used; those that can are TLS_AES_256_GCM_SHA384, \
             TLS_AES_128_GCM_SHA256, TLS_CHACHA20_POLY1305_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, \
             TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, \
             TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, \
             TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"
        );
    }

    #[test]
    fn a_name_that_is_none_is_refused_with_the_one_that_was_meant() {
        let error = suites(&["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA265"]).unwrap_err();
        assert_eq!(
            error,
            "\"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA265\" is no cipher suite; did you mean \
             \"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\"?"
        );
        assert_eq!(suites(&["x"]).unwrap_err(), "\"x\" is no cipher suite");
    }

    #[test]
    fn what_nobody_should_speak_is_dropped_and_told() {
        let names = ["TLS_RSA_WITH_RC4_128_SHA", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"];
        assert_eq!(suites(&names).unwrap(), ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]);
        assert_eq!(CipherSuites::of_names(&names).unwrap().dropped(), ["TLS_RSA_WITH_RC4_128_SHA"]);
    }

    #[test]
    fn the_list_chooses_among_the_suites_of_version_1_2_alone() {
        let old = suites(&["TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305"]).unwrap();
        assert_eq!(old, ["TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"]);
        assert!(suites(&["TLS_AES_128_GCM_SHA256"]).unwrap().is_empty());
        let modern = CipherSuites::of_names(&["TLS_AES_128_GCM_SHA256"]).unwrap();
        assert_eq!(modern.suites.len(), 3, "all of TLS 1.3");
        assert_eq!(suites(&[]).unwrap().len(), 6);
    }

    #[test]
    fn a_version_is_one_of_gos_names() {
        let error = "1.2".parse::<MinVersion>().unwrap_err();
        assert_eq!(error, "\"1.2\" is no version of TLS; write VersionTLS12 or VersionTLS13");
        for (name, version) in MinVersion::NAMES {
            assert_eq!(name.parse(), Ok(version));
            assert_eq!(version.versions().len(), if version == MinVersion::Tls13 { 1 } else { 2 });
        }
        assert!(MinVersion::Tls11.is_clamped() && !MinVersion::default().is_clamped());
    }
}
