//! Which parts are on (`--controllers`), by the names that the peer gives them.

use std::collections::BTreeSet;

use runtime::config::nearest;

/// Judges Issuers.
pub const ISSUERS: &str = "issuers";
/// Judges ClusterIssuers.
pub const CLUSTER_ISSUERS: &str = "clusterissuers";
/// Approves CertificateRequests.
pub const APPROVER: &str = "certificaterequests-approver";
/// Has CertificateRequests signed by issuers of type CA.
pub const REQUESTS_CA: &str = "certificaterequests-issuer-ca";
/// Has CertificateRequests signed by issuers of type SelfSigned.
pub const REQUESTS_SELF_SIGNED: &str = "certificaterequests-issuer-selfsigned";
/// Has CertificateRequests signed by issuers of type Vault.
pub const REQUESTS_VAULT: &str = "certificaterequests-issuer-vault";

/// Begins the issuance of Certificates.
pub const CERTIFICATES_TRIGGER: &str = "certificates-trigger";
/// Makes the keys of issuances, and takes them away.
pub const CERTIFICATES_KEYS: &str = "certificates-key-manager";
/// Makes the requests of issuances.
pub const CERTIFICATES_REQUESTS: &str = "certificates-request-manager";
/// Writes the Secrets of Certificates.
pub const CERTIFICATES_ISSUING: &str = "certificates-issuing";
/// Says whether Certificates are ready.
pub const CERTIFICATES_READINESS: &str = "certificates-readiness";
/// Takes old requests of Certificates away.
pub const CERTIFICATES_REVISIONS: &str = "certificates-revision-manager";
/// Has metrics of Certificates.
pub const CERTIFICATES_METRICS: &str = "certificates-metrics";

/// What there is of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// On by default, and done here.
    Done,
    /// On by default in the peer, and not done here.
    Missing,
    /// Off by default in the peer, and not done here.
    Optional,
}

use Part::{Done, Missing, Optional};

/// All names, sorted.
const NAMES: [(&str, Part); 24] = [
    (APPROVER, Done),
    ("certificaterequests-issuer-acme", Missing),
    (REQUESTS_CA, Done),
    (REQUESTS_SELF_SIGNED, Done),
    (REQUESTS_VAULT, Done),
    ("certificaterequests-issuer-venafi", Missing),
    (CERTIFICATES_ISSUING, Done),
    (CERTIFICATES_KEYS, Done),
    (CERTIFICATES_METRICS, Done),
    (CERTIFICATES_READINESS, Done),
    (CERTIFICATES_REQUESTS, Done),
    (CERTIFICATES_REVISIONS, Done),
    (CERTIFICATES_TRIGGER, Done),
    ("certificatesigningrequests-issuer-acme", Optional),
    ("certificatesigningrequests-issuer-ca", Optional),
    ("certificatesigningrequests-issuer-selfsigned", Optional),
    ("certificatesigningrequests-issuer-vault", Optional),
    ("certificatesigningrequests-issuer-venafi", Optional),
    ("challenges", Missing),
    (CLUSTER_ISSUERS, Done),
    ("gateway-shim", Optional),
    ("ingress-shim", Missing),
    (ISSUERS, Done),
    ("orders", Missing),
];

/// Why a list of parts cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControllersError {
    /// There is no such part.
    #[error("controllers: there is no {name:?}{}", meant.map(|meant| format!("; did you mean {meant:?}?")).unwrap_or_default())]
    Unknown {
        /// As it was written.
        name: String,
        /// What was probably meant.
        meant: Option<&'static str>,
    },
}

/// The parts that are on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controllers {
    on: BTreeSet<&'static str>,
    asked_in_vain: Vec<&'static str>,
}

impl Default for Controllers {
    fn default() -> Self {
        let on = NAMES.iter().filter(|(_, part)| *part != Optional).map(|(name, _)| *name).collect();
        Self { on, asked_in_vain: Vec::new() }
    }
}

impl Controllers {
    /// What a list comes to: names, `*` for all that are on by default, and `-name` for what is off whatever else is said. An
    /// empty list, and one that only switches off, stand for `*`.
    ///
    /// # Errors
    /// When a name does not exist.
    pub fn of(list: &[String]) -> Result<Self, ControllersError> {
        let (mut on, mut off, mut asked) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        let mut all = list.iter().all(|item| item.starts_with('-'));
        for item in list.iter().map(|item| item.trim()) {
            if item == "*" {
                all = true;
            } else if let Some(name) = item.strip_prefix('-') {
                off.insert(known(name)?.0);
            } else {
                let (name, part) = known(item)?;
                on.insert(name);
                if part != Done {
                    asked.push(name);
                }
            }
        }
        if all {
            on.extend(Self::default().on);
        }
        let on: BTreeSet<_> = on.difference(&off).copied().collect();
        asked.retain(|name| on.contains(name));
        Ok(Self { on, asked_in_vain: asked })
    }

    /// Whether the part of this name is on.
    pub fn is_on(&self, name: &str) -> bool {
        self.on.contains(name)
    }

    /// The parts that were asked for by name although this controller does not have them.
    pub fn asked_in_vain(&self) -> &[&'static str] {
        &self.asked_in_vain
    }
}

fn known(name: &str) -> Result<(&'static str, Part), ControllersError> {
    let found = NAMES.into_iter().find(|(known, _)| *known == name);
    found.ok_or_else(|| ControllersError::Unknown {
        name: name.to_owned(),
        meant: nearest(name, NAMES.map(|(known, _)| known)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(list: &[&str]) -> Result<Controllers, String> {
        let list: Vec<String> = list.iter().map(|item| (*item).to_owned()).collect();
        Controllers::of(&list).map_err(|error| error.to_string())
    }

    /// Whether each of approver, issuers and orders is on.
    fn check(list: &[&str], expected: [bool; 3]) {
        let controllers = of(list).unwrap();
        let on = [APPROVER, ISSUERS, "orders"].map(|name| controllers.is_on(name));
        assert_eq!(on, expected, "{list:?}");
    }

    #[test]
    fn a_part_that_does_not_exist_is_refused() {
        let error = of(&["*", "-certificaterequest-approver"]).unwrap_err();
        let wanted = "controllers: there is no \"certificaterequest-approver\"; did you mean \
                      \"certificaterequests-approver\"?";
        assert_eq!(error, wanted);
        assert_eq!(of(&["x"]).unwrap_err(), "controllers: there is no \"x\"");
    }

    #[test]
    fn parts_are_on_as_the_list_says() {
        check(&[], [true; 3]);
        check(&["*"], [true; 3]);
        check(&["*", "-certificaterequests-approver"], [false, true, true]);
        check(&["-certificaterequests-approver", "*"], [false, true, true]);
        check(&["-certificaterequests-approver"], [false, true, true]);
        check(&["issuers"], [false, true, false]);
        assert!(!of(&["*"]).unwrap().is_on("gateway-shim"));
    }

    #[test]
    fn what_is_asked_for_by_name_and_not_there_is_told() {
        assert_eq!(of(&["*", "gateway-shim", "issuers"]).unwrap().asked_in_vain(), ["gateway-shim"]);
        assert!(of(&["*"]).unwrap().asked_in_vain().is_empty());
    }
}
