//! Rules of the PKCS#10 request in a CertificateRequest. It is parsed and its signature verified once, however many
//! rules judge it: one function evaluates all of them.

use api::{CertificateRequestSpec, KeyUsage};
use issuance::certificate::Certificate;
use issuance::outcome::causes;
use issuance::pem::PemError;
use issuance::request::{Examined, ExtensionError, RequestError, Tolerance};
use issuance::signature::{self, SignatureError};
use issuance::usage::Usages;

use super::REQUEST;
use crate::case::Case;
use crate::finding::{Fault, concealed};
use crate::rule::{Check, Class, Findings, Rule};

pub(super) static RULES: &[Check<CertificateRequestSpec>] = &[Check::new(
    "R05",
    REQUEST,
    PATH,
    Class::Spec,
    "The signing request is no longer than `--max-certificate-size`: 36500 bytes of PEM unless set",
    evaluate,
)
.with(&[&R06, &R07, &R08, &R09, &R10, &R11, &R12, &B14, &B15])];

const PATH: &str = "spec.request";

const fn rule(id: &'static str, class: Class, summary: &'static str) -> Rule {
    Rule { id, kinds: REQUEST, path: PATH, class, summary }
}

static R06: Rule = rule("R06", Class::Spec, "The signing request is PEM");
/// Stricter than the peer where programs would read a request differently: what is BER and not DER, a list of extensions
/// twice or an extension broken in itself, and a common name that is no text, which rules about names would pass over.
static R07: Rule = rule(
    "R07",
    Class::Spec,
    "The signing request is PKCS#10 (RFC 2986) in DER, whose names and extensions all programs read alike",
);
static R08: Rule = rule("R08", Class::Spec, "The signing request is signed by the key in it");
static R09: Rule = rule(
    "R09",
    Class::Spec,
    "Basic constraints in the signing request can be read and agree with `spec.isCA`",
);
static R10: Rule = rule(
    "R10",
    Class::Spec,
    "Key usages in the signing request are those of `spec.usages`, with `cert sign` if `spec.isCA` is set",
);
static R11: Rule = rule(
    "R11",
    Class::Spec,
    "Extended key usages in the signing request are those of `spec.usages`, in any order",
);
static R12: Rule = rule("R12", Class::Spec, "Usages and name constraints in the signing request can be read");
static B14: Rule = rule(
    "B14",
    Class::Spec,
    "The signing request is one CERTIFICATE REQUEST block with nothing behind it, is not signed with SHA-1 or MD5, and \
     an RSA key in it has at least 2048 bits",
);
static B15: Rule = rule(
    "B15",
    Class::Spec,
    "The signing request asks for no extended key usage that `spec.usages` cannot say",
);

/// How much of a request a message shows, in bytes.
const SHOWN_BYTES_MAX: usize = 97;

/// RSA keys of fewer bits are too weak. Some are too long as well, which is another matter.
const RSA_BITS_MIN: usize = 2048;

/// Extensions by their identifier, with their name and the rule that a malformed one breaks.
static EXTENSIONS: &[(&str, &str, &Rule)] = &[
    ("2.5.29.15", "keyUsage", &R12),
    ("2.5.29.17", "subjectAltName", &R07),
    ("2.5.29.19", "basicConstraints", &R09),
    ("2.5.29.37", "extKeyUsage", &R12),
];

const NO_BLOCK: &str =
    "no PEM block found; a signing request begins with the line -----BEGIN CERTIFICATE REQUEST-----";
const NOT_THE_CERTIFICATE: &str =
    "this is a certificate: put the signing request here that it was made from, or make one";
const ANEW: &str = "make the request anew, as openssl req -new does";
const OTHER_SIGNATURE: &str =
    "sign with SHA-256, SHA-384 or SHA-512 and RSA or ECDSA (P-256, P-384, P-521), or with Ed25519";

/// The request never changes once it is stored (R19), so that it is read on creation alone.
fn evaluate(case: &Case<'_, CertificateRequestSpec>, findings: &mut Findings) {
    let (spec, settings) = (&case.object.spec, case.context.settings);
    let text = spec.request.0.as_slice();
    if text.is_empty() || !case.is_create() {
        return; // R03
    }
    let mut findings = About { text, findings };
    let bytes_max = settings.request_bytes_max;
    if text.len() > bytes_max {
        let detail = format!("{} bytes are more than the {bytes_max} allowed", text.len());
        findings.tell(detail, "ask for fewer names, or have --max-certificate-size raised");
        return;
    }
    match Examined::from_pem(text, Tolerance { bytes_max, short_rsa_keys: settings.short_request_keys }) {
        Ok(request) => {
            compare_basic_constraints(&request, spec, &mut findings);
            compare_usages(&request, spec, &mut findings);
        }
        Err(RequestError::Signature(error)) => badly_signed(&error, &mut findings),
        Err(error) => unreadable(&error, &mut findings),
    }
}

/// Findings about a request, each of which shows its beginning.
struct About<'a, 'f> {
    text: &'a [u8],
    findings: &'a mut Findings<'f>,
}

impl About<'_, '_> {
    fn of(&mut self, rule: &'static Rule) -> &mut Self {
        self.findings.of(rule);
        self
    }

    fn tell(&mut self, detail: String, advice: impl Into<String>) {
        let shown = shown(self.text);
        let finding = self.findings.here(Fault::Invalid).detail(detail).advice(advice.into());
        if let Some(shown) = shown {
            finding.value(shown);
        }
    }
}

/// The beginning of a request. None for what holds a private key, and for what is not text: DER may be that of a key.
fn shown(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok().filter(|text| concealed(text) == *text)?;
    let end = text.floor_char_boundary(SHOWN_BYTES_MAX);
    let beginning = text.get(..end)?;
    Some(if end < text.len() { format!("{beginning}...") } else { beginning.to_owned() })
}

fn badly_signed(error: &SignatureError, findings: &mut About<'_, '_>) {
    match error {
        SignatureError::Algorithm(oid) => match signature::weak_digest(oid) {
            Some(digest) => {
                let detail = format!("signed with {digest}, which can be forged");
                findings.of(&B14).tell(detail, "sign with SHA-256, SHA-384 or SHA-512");
            }
            None => {
                let detail = format!("signed by an algorithm that is not known: {oid}");
                findings.of(&R08).tell(detail, OTHER_SIGNATURE);
            }
        },
        SignatureError::Mismatch { algorithm, key } => {
            let detail =
                format!("a signature by algorithm {algorithm} is not checked with such a key: {key}");
            findings.of(&R08).tell(detail, OTHER_SIGNATURE);
        }
        SignatureError::RsaSize(bits) if *bits < RSA_BITS_MIN => {
            let detail = format!("an RSA key of {bits} bits is too weak");
            findings.of(&B14).tell(detail, "make a key of at least 2048 bits, or one for ECDSA");
        }
        SignatureError::RsaSize(_) | SignatureError::RsaExponent | SignatureError::Parameters(_) => {
            findings.of(&R08).tell(error.to_string(), ANEW);
        }
        SignatureError::Invalid | SignatureError::Name(_) => findings.of(&R08).tell(
            "not signed by the private key that belongs to the key in it".to_owned(),
            "make the request anew with the key that the certificate is for",
        ),
    }
}

fn unreadable(error: &RequestError, findings: &mut About<'_, '_>) {
    let (rule, advice) = match error {
        RequestError::Pem(_) => (&R06, instead_of_pem(findings.text)),
        RequestError::Label(label) if label.ends_with("PRIVATE KEY") => {
            (&B14, "treat the key as disclosed, make another one, and a request with it")
        }
        RequestError::Label(label) if label == "CERTIFICATE" => (&B14, NOT_THE_CERTIFICATE),
        RequestError::Label(_) => (&B14, "put the request here that was made for the certificate"),
        RequestError::Trailing(_) => (&B14, "give each request a CertificateRequest of its own"),
        RequestError::Extension(ExtensionError::Malformed { oid }) => {
            let (name, rule) = EXTENSIONS
                .iter()
                .find(|(known, ..)| known == oid)
                .map_or((oid.as_str(), &R07), |(_, name, rule)| (*name, *rule));
            return findings.of(rule).tell(format!("the extension {name} is malformed"), ANEW);
        }
        RequestError::Extension(ExtensionError::Constraint(_)) => (&R12, ANEW),
        RequestError::Nameless
        | RequestError::Name(_)
        | RequestError::Key(_)
        | RequestError::TooLong(_)
        | RequestError::Malformed
        | RequestError::Version(_)
        | RequestError::ExtensionLists
        | RequestError::NoNames
        | RequestError::Extension(ExtensionError::Name(_) | ExtensionError::Repeated { .. })
        | RequestError::Signature(_)
        | RequestError::Form(_) => (&R07, ANEW),
    };
    let detail = match error {
        RequestError::Pem(PemError::Empty) => NO_BLOCK.to_owned(),
        error => causes(error),
    };
    findings.of(rule).tell(detail, advice);
}

/// What to do about a text that is not PEM, by what it probably is.
fn instead_of_pem(text: &[u8]) -> &'static str {
    const SEQUENCE: u8 = 0x30;
    if Certificate::from_der(text).is_ok() {
        NOT_THE_CERTIFICATE
    } else if text.first() == Some(&SEQUENCE) {
        "turn DER into PEM by openssl req -inform DER, and that into base64"
    } else if text.starts_with(b"LS0tLS1CRUdJTi") {
        "put the PEM into base64 once, not twice"
    } else {
        "put a PKCS#10 request here, in PEM and then in base64"
    }
}

fn compare_basic_constraints(
    request: &Examined,
    spec: &CertificateRequestSpec,
    findings: &mut About<'_, '_>,
) {
    let Some(is_ca) = request.is_ca.filter(|is_ca| *is_ca != spec.is_ca) else {
        return;
    };
    let constraint = if is_ca { "CA:TRUE" } else { "CA:FALSE" };
    findings.of(&R09).tell(
        format!("asks for {constraint}, and spec.isCA is {}", spec.is_ca),
        format!("set spec.isCA to {is_ca}, or make the request without basic constraints"),
    );
}

fn compare_usages(request: &Examined, spec: &CertificateRequestSpec, findings: &mut About<'_, '_>) {
    let Some(asked) = &request.usages else { return };
    let Ok(wanted) = Usages::parse(spec.usages.iter().map(KeyUsage::as_str)) else {
        return; // R04
    };
    let wanted = if spec.is_ca { wanted.with_cert_sign() } else { wanted };
    if asked.same_as(&wanted) {
        return;
    }
    for (rule, asked_part, wanted_part) in
        [(&R10, asked.basic(), wanted.basic()), (&R11, asked.extended(), wanted.extended())]
    {
        if !asked_part.same_as(&wanted_part) {
            let detail =
                format!("asks for {}, and the spec for {}", listed(&asked_part), listed(&wanted_part));
            let lacks_cert_sign = spec.is_ca && !asked.clone().with_cert_sign().same_as(asked);
            let advice = if lacks_cert_sign && rule == &R10 {
                "make the request with keyCertSign or without usages, or set spec.isCA to false".to_owned()
            } else {
                in_agreement(asked)
            };
            findings.of(rule).tell(detail, advice);
        }
    }
    let foreign = asked.foreign();
    if !foreign.is_empty() {
        let detail = format!("asks for extended usages that no usage stands for: {}", foreign.summary());
        findings.of(&B15).tell(detail, "make the request without them");
    }
}

fn listed(usages: &Usages) -> String {
    if usages.is_empty() { "none".to_owned() } else { usages.summary() }
}

/// How request and spec come to ask for the same: the usages of the request, where there are any.
fn in_agreement(asked: &Usages) -> String {
    let parts = [asked.basic(), asked.extended()];
    let named: Vec<String> = parts.iter().filter(|part| !part.is_empty()).map(Usages::summary).collect();
    if named.is_empty() {
        return "make the request with the usages of the spec, or without any".to_owned();
    }
    format!("write usages: [{}], or make the request without usages", named.join(", "))
}

#[cfg(test)]
mod tests;
