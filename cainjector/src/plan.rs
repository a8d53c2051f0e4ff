//! The whole policy, without a client: from a target, its source and the clock to what is to be done.

use std::fmt;

use issuance::bundle::Bundle;
use issuance::certificate::Certificate;
use issuance::pem::{self, Limit};
use jiff::Timestamp;
use runtime::watch::State;
use serde_json::Value;

use crate::reference::Wanted;
use crate::source::{self, SourceSecret};
use crate::target::{Fields, Live};

/// Most bytes of bundles in one target. An object may have about 1.5 MiB in all, in base64 and with the managed
/// fields; beyond this a target would soon be refused by the API server.
const BUNDLES_BYTES_MAX: usize = 768 * 1024;

/// What is to be done with a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Send this server-side apply.
    Apply {
        /// Its body.
        body: Value,
    },
    /// The target has what it should have.
    InSync,
    /// Nothing may be written; the target keeps what it has.
    Refused(Refusal),
}

/// A plan, and when it has to be made anew although nothing changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// What is to be done now.
    pub plan: Plan,
    /// When the first certificate of the bundle expires and is to be taken out.
    pub expires: Option<Timestamp>,
}

/// Why a target gets nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For programs.
    pub reason: Reason,
    /// For people: what is wrong, and what would be right.
    pub message: String,
}

impl Refusal {
    /// A refusal for this reason.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// Why a target gets nothing: reasons of events and label values of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The annotation is not `namespace/name`.
    MalformedReference,
    /// The annotation names a source that this version does not read.
    SourceNotSupported,
    /// The source is in a namespace that `--namespace` excludes.
    NamespaceNotServed,
    /// The source does not exist.
    SourceNotFound,
    /// The source cannot be read, for now.
    SourceUnavailable,
    /// The source's owner has not consented.
    SourceNotAllowed,
    /// The source has no CA.
    NoCAData,
    /// The source's CA is not a list of certificates.
    InvalidPEM,
    /// A private key is where the CA should be.
    PrivateKeyInSource,
    /// Every certificate of the source has expired.
    CAExpired,
    /// The target cannot have a bundle.
    NotApplicable,
    /// The target's bundles would be too large for it.
    BundleTooLarge,
    /// The API server denies the read or the write.
    Forbidden,
    /// The API server finds the target with this bundle invalid.
    RejectedByAPIServer,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The names of the variants are the texts.
        fmt::Debug::fmt(self, f)
    }
}

/// Decides what is to be done with a target that asks for this source.
///
/// `state` is what is known of the Secret that `wanted` names; it is not looked at for other sources.
pub fn plan(live: &Live, wanted: &Wanted, state: &State<SourceSecret>, now: Timestamp) -> Planned {
    decide(live, wanted, state, now)
        .unwrap_or_else(|refusal| Planned { plan: Plan::Refused(refusal), expires: None })
}

fn decide(
    live: &Live,
    wanted: &Wanted,
    state: &State<SourceSecret>,
    now: Timestamp,
) -> Result<Planned, Refusal> {
    let source = match wanted {
        Wanted::Secret(name) => source::bundle(name, state, now)?,
        Wanted::Malformed { annotation, value } => {
            let text = format!("annotation {annotation} is {value:?}: write NAMESPACE/NAME");
            return Err(Refusal::new(Reason::MalformedReference, text));
        }
        Wanted::Unsupported { annotation } => {
            let text = format!(
                "annotation {annotation} is not supported yet: use cert-manager.io/inject-ca-from-secret"
            );
            return Err(Refusal::new(Reason::SourceNotSupported, text));
        }
    };
    applicable(&live.fields)?;
    let current = live.fields.bundles().into_iter();
    let fields = current.map(|current| Field::new(current, &source, now)).collect::<Result<Vec<_>, _>>()?;
    let expires = fields.iter().filter_map(Field::expires).min();
    if fields.iter().all(|field| field.in_sync) {
        return Ok(Planned { plan: Plan::InSync, expires });
    }
    let texts: Vec<String> = fields.iter().map(|field| field.bundle.to_pem()).collect();
    for (field, text) in fields.iter().zip(&texts) {
        readable(&field.bundle, text)?;
    }
    let bytes: usize = texts.iter().map(String::len).sum();
    if bytes > BUNDLES_BYTES_MAX {
        let text = format!("the bundles would have {bytes} bytes, of {BUNDLES_BYTES_MAX} allowed");
        return Err(Refusal::new(Reason::BundleTooLarge, text));
    }
    let body = live.apply_body(&texts);
    Ok(Planned { plan: Plan::Apply { body }, expires })
}

/// What is written must be what is read at the next look, or there would be no end of writing.
fn readable(bundle: &Bundle, text: &str) -> Result<(), Refusal> {
    let Limit { bytes, blocks } = Limit::BUNDLE;
    let count = bundle.certificates().len();
    if text.len() <= bytes && count <= blocks {
        return Ok(());
    }
    let text = format!(
        "a bundle would have {count} certificates in {} bytes, of {blocks} and {bytes} allowed; \
         remove those that nobody needs any more",
        text.len()
    );
    Err(Refusal::new(Reason::BundleTooLarge, text))
}

/// The API server answers 422 to a bundle in such targets, for ever; and switching a user's TLS verification on or
/// off is not ours to do.
fn applicable(fields: &Fields) -> Result<(), Refusal> {
    let text = match fields {
        Fields::ApiService { insecure: true, .. } => {
            "spec.insecureSkipTLSVerify is true, which excludes a bundle: remove it to have the service verified"
        }
        Fields::ApiService { remote: false, .. } => {
            "the API server serves this group itself: there is no spec.service to verify"
        }
        Fields::ApiService { .. } | Fields::Webhooks(_) => return Ok(()),
    };
    Err(Refusal::new(Reason::NotApplicable, text))
}

/// One bundle field: what belongs there.
struct Field {
    bundle: Bundle,
    in_sync: bool,
}

impl Field {
    fn new(current: &[u8], source: &Bundle, now: Timestamp) -> Result<Self, Refusal> {
        let present = Bundle::parse(current).ok();
        // Certificates are compared, not text: comments in a good bundle are no reason to write.
        let existing = match &present {
            Some(bundle) => bundle.clone(),
            None => salvage(current)?,
        };
        let bundle = Bundle::merge(&existing, source, now);
        let in_sync = present.is_some_and(|bundle_now| bundle_now.certificates() == bundle.certificates());
        Ok(Self { bundle, in_sync })
    }

    fn expires(&self) -> Option<Timestamp> {
        let certificates = self.bundle.certificates().iter();
        certificates.map(Certificate::not_after).min()
    }
}

/// The certificates of a damaged bundle that can still be read. The API server skips what it cannot read, so it may
/// trust them today, and a server may depend on that: all of them stay, or nothing is written.
fn salvage(damaged: &[u8]) -> Result<Bundle, Refusal> {
    let readable = pem::readable_certificates(damaged, Limit::OBJECT).map_err(|error| {
        let text =
            format!("a bundle of the target is too large to be read: {error}; remove what nobody needs");
        Refusal::new(Reason::BundleTooLarge, text)
    })?;
    Ok(Bundle::of(readable.certificates))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use issuance::authority::Authority;
    use issuance::key::{Curve, KeyAlgorithm, KeyEncoding, PrivateKey};
    use jiff::SignedDuration;
    use k8s_openapi::ByteString;
    use runtime::watch::{Failure, ObjectName};

    use super::*;
    use crate::target::{Target, TargetKind, Webhook};

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    /// A root that expires in `hours`; one that has expired already was made long ago.
    fn root(name: &str, hours: i64) -> Certificate {
        let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
        let lifetime = SignedDuration::from_hours(1000);
        let born = now() + SignedDuration::from_hours(hours) - lifetime;
        let authority = Authority::self_signed(name, key, lifetime, born).unwrap();
        authority.certificate().clone()
    }

    fn pem(certificates: &[&Certificate]) -> String {
        Bundle::of(certificates.iter().copied().cloned().collect()).to_pem()
    }

    fn webhooks(bundles: &[&str]) -> Live {
        let webhooks = bundles.iter().enumerate().map(|(number, bundle)| Webhook {
            name: format!("w{number}.example.test"),
            bundle: bundle.as_bytes().to_vec(),
        });
        live(Fields::Webhooks(webhooks.collect()))
    }

    fn live(fields: Fields) -> Live {
        let kind = match &fields {
            Fields::Webhooks(_) => TargetKind::ValidatingWebhookConfiguration,
            Fields::ApiService { .. } => TargetKind::ApiService,
        };
        Live {
            target: Target { kind, name: "example".to_owned() },
            uid: "u".to_owned(),
            resource_version: "7".to_owned(),
            deleting: false,
            fields,
        }
    }

    fn wanted() -> Wanted {
        Wanted::Secret(ObjectName::namespaced("team-a", "ca"))
    }

    fn source(ca: &str) -> State<SourceSecret> {
        State::Present(Arc::new(SourceSecret { allowed: true, ca: Some(ca.as_bytes().to_vec()) }))
    }

    /// The plan in one line: `apply a,b | a,b`, with the common names in each bundle, `in sync`, or `Reason: message`.
    fn shown(planned: &Planned) -> String {
        let names = |bundle: &Value| {
            let bundle: ByteString = serde_json::from_value(bundle.clone()).unwrap();
            let bundle = Bundle::parse(&bundle.0).unwrap();
            let names = bundle.certificates().iter();
            let names: Vec<_> = names.filter_map(Certificate::common_name).collect();
            names.join(",")
        };
        match &planned.plan {
            Plan::InSync => "in sync".to_owned(),
            Plan::Refused(refusal) => format!("{}: {}", refusal.reason, refusal.message),
            Plan::Apply { body } => {
                assert_eq!(body["metadata"]["resourceVersion"], "7");
                let bundles: Vec<_> = match body["webhooks"].as_array() {
                    Some(entries) => {
                        entries.iter().map(|entry| names(&entry["clientConfig"]["caBundle"])).collect()
                    }
                    None => vec![names(&body["spec"]["caBundle"])],
                };
                format!("apply {}", bundles.join(" | "))
            }
        }
    }

    fn check(live: &Live, wanted: &Wanted, state: &State<SourceSecret>, expected: &str) {
        assert_eq!(shown(&plan(live, wanted, state, now())), expected);
    }

    #[test]
    fn a_source_that_cannot_be_used_leaves_the_target_alone() {
        let good = pem(&[&root("good", 1)]);
        let target = webhooks(&[&good]);
        let failed = |code, message: &str| State::Failed(Failure { code, message: message.to_owned() });
        let secret = |allowed, ca: Option<&str>| {
            State::Present(Arc::new(SourceSecret { allowed, ca: ca.map(|ca| ca.as_bytes().to_vec()) }))
        };
        let mut with_key = good.clone();
        let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
        with_key.push_str(std::str::from_utf8(key.to_pem(KeyEncoding::Pkcs8).expose()).unwrap());
        let expired = pem(&[&root("expired", -1)]);
        let cases = [
            (State::Absent, "SourceNotFound: Secret team-a/ca does not exist"),
            (
                failed(Some(403), "no"),
                "Forbidden: reading Secret team-a/ca is forbidden: no; the cainjector needs get, list and watch on it",
            ),
            (failed(None, "refused"), "SourceUnavailable: Secret team-a/ca cannot be read: refused"),
            (
                secret(false, Some(&good)),
                "SourceNotAllowed: Secret team-a/ca does not allow it: its owner must set the annotation cert-manager.io/allow-direct-injection to \"true\"",
            ),
            (
                secret(true, None),
                "NoCAData: Secret team-a/ca has no ca.crt: put the CA certificate in PEM there",
            ),
            (source(""), "NoCAData: Secret team-a/ca has no ca.crt: put the CA certificate in PEM there"),
            (
                source("not a pem"),
                "InvalidPEM: ca.crt of Secret team-a/ca: no PEM block found; it begins with a line such as -----BEGIN CERTIFICATE-----",
            ),
            (
                source(&with_key),
                "PrivateKeyInSource: ca.crt of Secret team-a/ca: PEM block 2 is a private key: remove it and treat the key as disclosed",
            ),
            (source(&expired), "CAExpired: every certificate in ca.crt of Secret team-a/ca has expired"),
        ];
        for (state, expected) in cases {
            check(&target, &wanted(), &state, expected);
        }
    }

    #[test]
    fn a_reference_that_cannot_be_followed_is_told() {
        let malformed =
            Wanted::Malformed { annotation: "cert-manager.io/inject-ca-from-secret", value: "ca".to_owned() };
        check(
            &webhooks(&[""]),
            &malformed,
            &State::Absent,
            "MalformedReference: annotation cert-manager.io/inject-ca-from-secret is \"ca\": write NAMESPACE/NAME",
        );
        let unsupported = Wanted::Unsupported { annotation: "cert-manager.io/inject-ca-from" };
        check(
            &webhooks(&[""]),
            &unsupported,
            &State::Absent,
            "SourceNotSupported: annotation cert-manager.io/inject-ca-from is not supported yet: use cert-manager.io/inject-ca-from-secret",
        );
    }

    #[test]
    fn a_service_that_cannot_have_a_bundle_gets_none() {
        let ca = source(&pem(&[&root("ca", 1)]));
        for (insecure, remote, expected) in [
            (
                true,
                true,
                "NotApplicable: spec.insecureSkipTLSVerify is true, which excludes a bundle: remove it to have the service verified",
            ),
            (
                false,
                false,
                "NotApplicable: the API server serves this group itself: there is no spec.service to verify",
            ),
            (false, true, "apply ca"),
        ] {
            let bundle = Vec::new();
            let target = live(Fields::ApiService { bundle, insecure, remote });
            check(&target, &wanted(), &ca, expected);
        }
    }

    #[test]
    fn bundles_that_an_object_cannot_hold_are_refused() {
        let many: Vec<_> = (0..250).map(|number| root(&number.to_string(), 1)).collect();
        let ca = pem(&many.iter().collect::<Vec<_>>());
        let refused = plan(&webhooks(&[""; 10]), &wanted(), &source(&ca), now());
        assert!(shown(&refused).starts_with("BundleTooLarge: "), "{refused:?}");
    }

    #[test]
    fn a_bundle_that_is_too_long_to_be_read_again_keeps_every_certificate() {
        let many: Vec<_> = (0..800).map(|number| root(&number.to_string(), 1)).collect();
        let present = pem(&many.iter().collect::<Vec<_>>());
        assert!(present.len() > Limit::BUNDLE.bytes, "{}", present.len());
        let refused = plan(&webhooks(&[&present]), &wanted(), &source(&pem(&[&root("ca", 1)])), now());
        assert!(shown(&refused).starts_with("BundleTooLarge: a bundle would have 801 "), "{refused:?}");
    }

    #[test]
    fn a_damaged_bundle_above_every_bound_is_refused_rather_than_cut() {
        let ca = source(&pem(&[&root("ca", 1)]));
        let block = "-----BEGIN A-----\n";
        let text = format!("{}{}", pem(&[&root("own", 1)]), block.repeat(Limit::OBJECT.blocks));
        check(
            &webhooks(&[&text]),
            &wanted(),
            &ca,
            "BundleTooLarge: a bundle of the target is too large to be read: more than 5000 PEM blocks; remove what nobody needs",
        );
        let text = "x".repeat(Limit::OBJECT.bytes + 1);
        check(
            &webhooks(&[&text]),
            &wanted(),
            &ca,
            "BundleTooLarge: a bundle of the target is too large to be read: 1572865 bytes of PEM are more than the 1572864 allowed; remove what nobody needs",
        );
    }

    #[test]
    fn each_entry_keeps_its_own_certificates_and_gets_the_source_behind_them() {
        let (own, ca, fresh) = (root("own", 5), root("ca", 5), root("fresh", 5));
        let both = pem(&[&ca, &fresh]);
        let (own_text, ca_text) = (pem(&[&own]), pem(&[&ca]));
        check(
            &webhooks(&["", "\n", &own_text, &ca_text]),
            &wanted(),
            &source(&both),
            "apply ca,fresh | ca,fresh | own,ca,fresh | ca,fresh",
        );
    }

    #[test]
    fn an_entry_that_is_as_it_should_be_is_still_in_the_apply_of_the_others() {
        let ca = pem(&[&root("ca", 5)]);
        check(&webhooks(&[&ca, ""]), &wanted(), &source(&ca), "apply ca | ca");
    }

    #[test]
    fn nothing_is_written_when_the_certificates_are_there() {
        let ca = pem(&[&root("ca", 5)]);
        let commented = format!("# our CA\n{ca}");
        check(&webhooks(&[&ca, &commented]), &wanted(), &source(&commented), "in sync");
        check(&webhooks(&[]), &wanted(), &source(&ca), "in sync");
    }

    #[test]
    fn expired_certificates_are_taken_out() {
        let (expired, ca) = (root("expired", -1), root("ca", 5));
        let target = webhooks(&[&pem(&[&expired, &ca])]);
        let planned = plan(&target, &wanted(), &source(&pem(&[&ca, &expired])), now());
        assert_eq!(shown(&planned), "apply ca");
        assert_eq!(planned.expires, Some(ca.not_after()));
    }

    #[test]
    fn what_can_be_read_of_a_damaged_bundle_stays() {
        let (first, second, ca) = (root("first", 5), root("second", 5), root("ca", 5));
        let unfinished = "-----BEGIN CERTIFICATE-----\nMIIB\n";
        let key = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n";
        let (first, second) = (pem(&[&first]), pem(&[&second]));
        let damaged = format!("{first}{unfinished}{second}{key}{unfinished}");
        check(&webhooks(&[&damaged]), &wanted(), &source(&pem(&[&ca])), "apply first,second,ca");
    }
}
