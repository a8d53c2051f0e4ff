//! Labels and annotations of what is made for a Certificate.

use std::collections::BTreeMap;

use api::keys::{annotation, label};
use api::{CertificateSpec, IssuerRef};
use issuance::certificate::Certificate;
use issuance::name::SubjectAltName;
use issuance::request::SubjectAttribute;

/// Labels or annotations.
pub type Texts = BTreeMap<String, String>;

/// Which annotations of a Certificate its requests get (`--copied-annotation-prefixes`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefixes(Vec<String>);

impl Default for Prefixes {
    /// All but those that kubectl, Flux and Argo CD keep their own state in.
    fn default() -> Self {
        Self::new(["*", "-kubectl.kubernetes.io/", "-fluxcd.io/", "-argocd.argoproj.io/"])
    }
}

impl Prefixes {
    /// Prefixes of keys in the order of the flag: the last one that fits decides. One that begins with `-` excludes;
    /// with `*` among them, each of the others includes everything.
    pub fn new(prefixes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(prefixes.into_iter().map(Into::into).collect())
    }

    /// Those of the annotations that are copied.
    pub fn copied(&self, annotations: Texts) -> Texts {
        annotations.into_iter().filter(|(key, _)| self.includes(key)).collect()
    }

    fn includes(&self, key: &str) -> bool {
        let all = self.0.iter().any(|prefix| prefix == "*");
        self.0.iter().fold(false, |included, prefix| match prefix.strip_prefix('-') {
            Some(excluded) => included && !key.starts_with(excluded),
            None => included || all || key.starts_with(prefix.as_str()),
        })
    }
}

/// Annotations of a Secret that describe the certificate in it. Four are there even when they are empty.
pub fn details(leaf: &Certificate) -> Texts {
    let attributes = leaf.subject_attributes();
    let subject = |kind: &str| values(&attributes, kind);
    let names = |pick: fn(&SubjectAltName) -> Option<String>| -> Vec<String> {
        leaf.names().iter().filter_map(pick).collect()
    };
    let always = [
        (annotation::COMMON_NAME, leaf.common_name().unwrap_or_default()),
        (annotation::ALT_NAMES, record(&names(dns))),
        (annotation::IP_SANS, record(&names(ip))),
        (annotation::URI_SANS, record(&names(uri))),
    ];
    let if_any = [
        (annotation::EMAIL_SANS, names(email)),
        (annotation::SUBJECT_ORGANIZATIONS, subject("O")),
        (annotation::SUBJECT_ORGANIZATIONAL_UNITS, subject("OU")),
        (annotation::SUBJECT_COUNTRIES, subject("C")),
        (annotation::SUBJECT_PROVINCES, subject("ST")),
        (annotation::SUBJECT_LOCALITIES, subject("L")),
        (annotation::SUBJECT_POSTAL_CODES, subject("postalCode")),
        (annotation::SUBJECT_STREET_ADDRESSES, subject("STREET")),
    ];
    let serial_number = subject("SERIALNUMBER").pop().filter(|text| !text.is_empty());
    let serial_number = serial_number.map(|text| (annotation::SUBJECT_SERIAL_NUMBER, text));
    let if_any = if_any.into_iter().filter(|(_, values)| !values.is_empty());
    let all =
        always.into_iter().chain(if_any.map(|(key, values)| (key, record(&values)))).chain(serial_number);
    all.map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Annotations of a Secret that say who signed what is in it.
pub fn issuer(reference: &IssuerRef) -> Texts {
    [
        (annotation::ISSUER_NAME, reference.name.as_str()),
        (annotation::ISSUER_KIND, reference.kind_or_default()),
        (annotation::ISSUER_GROUP, reference.group_or_default()),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// Labels and annotations of the Secret of a Certificate, with those of its template: of the same key, ours win.
pub fn with_template(spec: &CertificateSpec, labels: Texts, annotations: Texts) -> (Texts, Texts) {
    let template = spec.secret_template.clone().unwrap_or_default();
    let labels = template.labels.into_iter().chain(labels).collect();
    (labels, template.annotations.into_iter().chain(annotations).collect())
}

/// The label by which Secrets of Certificates are found.
pub fn managed() -> Texts {
    [(label::MANAGED_SECRET.to_owned(), "true".to_owned())].into()
}

/// The labels of a Secret with the key of an issuance under way.
pub fn next_key() -> Texts {
    let mut labels = managed();
    labels.insert(label::NEXT_PRIVATE_KEY.to_owned(), "true".to_owned());
    labels
}

fn values(attributes: &[SubjectAttribute], kind: &str) -> Vec<String> {
    let of_kind = attributes.iter().filter(|attribute| attribute.kind == kind);
    of_kind.filter_map(|attribute| attribute.value.clone()).collect()
}

fn dns(name: &SubjectAltName) -> Option<String> {
    if let SubjectAltName::Dns(name) = name { Some(name.clone()) } else { None }
}

fn email(name: &SubjectAltName) -> Option<String> {
    if let SubjectAltName::Email(address) = name { Some(address.clone()) } else { None }
}

fn uri(name: &SubjectAltName) -> Option<String> {
    if let SubjectAltName::Uri(uri) = name { Some(uri.clone()) } else { None }
}

fn ip(name: &SubjectAltName) -> Option<String> {
    if let SubjectAltName::Ip(address) = name { Some(address.to_canonical().to_string()) } else { None }
}

/// The fields as one record of CSV (RFC 4180), without an end of line. A field is quoted when it holds a comma, a quote or
/// an end of line, or begins with white space.
fn record(fields: &[String]) -> String {
    let field = |field: &String| {
        let is_special = |character: char| matches!(character, ',' | '"' | '\r' | '\n');
        if field.contains(is_special) || field.starts_with(char::is_whitespace) {
            format!("\"{}\"", field.replace('"', "\"\""))
        } else {
            field.clone()
        }
    };
    fields.iter().map(field).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use issuance::authority::Terms;
    use issuance::name::Subject;
    use issuance::request::{Request, RequestSpec};

    use super::*;
    use crate::testing::{self, now};

    fn leaf(subject: Subject, names: Vec<SubjectAltName>) -> Certificate {
        let spec = RequestSpec { subject: subject.into(), names, ..RequestSpec::default() };
        let request = Request::build(&spec, &testing::key()).unwrap();
        let issued = testing::ca("ca").sign(&request, &Terms::default(), now()).unwrap();
        issued.chain.leaf().clone()
    }

    fn check_copied(prefixes: &[&str], expected: &[&str]) {
        let keys = ["kubectl.kubernetes.io/a", "example.org/b", "example.org/c", "d"];
        let annotations = keys.map(|key| (key.to_owned(), String::new())).into();
        let copied = Prefixes::new(prefixes.iter().copied()).copied(annotations);
        assert_eq!(copied.into_keys().collect::<Vec<_>>(), expected, "{prefixes:?}");
    }

    #[test]
    fn the_last_prefix_that_fits_decides_what_is_copied() {
        check_copied(&[], &[]);
        check_copied(&["-example.org/"], &[]);
        check_copied(&["example.org/", "-example.org/c"], &["example.org/b"]);
        check_copied(&["-example.org/c", "example.org/"], &["example.org/b", "example.org/c"]);
        check_copied(&["*", "-kubectl.kubernetes.io/", "-example.org/"], &["d"]);
        check_copied(&["-d", "*"], &["d", "example.org/b", "example.org/c", "kubectl.kubernetes.io/a"]);
    }

    #[test]
    fn fields_that_would_be_read_otherwise_are_quoted() {
        let check = |fields: &[&str], expected: &str| {
            let fields: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
            assert_eq!(record(&fields), expected);
        };
        check(&[], "");
        check(&[""], "");
        check(&["a", "b"], "a,b");
        check(&["a,b", "c\"d", "e\nf", " g", "h "], "\"a,b\",\"c\"\"d\",\"e\nf\",\" g\",h ");
    }

    #[test]
    fn a_certificate_without_details_has_four_empty_annotations() {
        let details = details(&leaf(Subject::default(), vec![SubjectAltName::Email("a@b.test".to_owned())]));
        let expected = [
            (annotation::COMMON_NAME, ""),
            (annotation::ALT_NAMES, ""),
            (annotation::IP_SANS, ""),
            (annotation::URI_SANS, ""),
            (annotation::EMAIL_SANS, "a@b.test"),
        ];
        assert_eq!(details, expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn all_that_a_certificate_says_is_annotated() {
        let list = |text: &str| vec![text.to_owned()];
        let subject = Subject {
            common_name: Some("web".to_owned()),
            countries: list("DE"),
            organizations: vec!["Example, Inc.".to_owned(), "Other".to_owned()],
            organizational_units: list("shop"),
            localities: list("Berlin"),
            provinces: list("BE"),
            street_addresses: list("Street 1"),
            postal_codes: list("10115"),
            serial_number: Some("7".to_owned()),
        };
        let names = vec![
            SubjectAltName::Dns("a.test".to_owned()),
            SubjectAltName::Dns("b.test".to_owned()),
            SubjectAltName::Ip("::ffff:192.0.2.1".parse().unwrap()),
            SubjectAltName::Uri("spiffe://a/b".to_owned()),
        ];
        let details = details(&leaf(subject, names));
        let shown: Vec<String> = details.iter().map(|(key, value)| format!("{key}: {value}")).collect();
        expect_test::expect![[r#"
            cert-manager.io/alt-names: a.test,b.test
            cert-manager.io/common-name: web
            cert-manager.io/ip-sans: 192.0.2.1
            cert-manager.io/subject-countries: DE
            cert-manager.io/subject-localities: Berlin
            cert-manager.io/subject-organizationalunits: shop
            cert-manager.io/subject-organizations: Other,"Example, Inc."
            cert-manager.io/subject-postalcodes: 10115
            cert-manager.io/subject-provinces: BE
            cert-manager.io/subject-serialnumber: 7
            cert-manager.io/subject-streetaddresses: Street 1
            cert-manager.io/uri-sans: spiffe://a/b"#]]
        .assert_eq(&shown.join("\n"));
    }

    #[test]
    fn the_issuer_is_written_with_its_defaults() {
        let bare = IssuerRef { name: "ca".to_owned(), ..IssuerRef::default() };
        let values: Vec<_> = issuer(&bare).into_values().collect();
        assert_eq!(values, ["cert-manager.io", "Issuer", "ca"]);
    }
}
