use der::Decode as _;
use der::asn1::{BitString, ObjectIdentifier, Uint};

use super::*;
use crate::bundle::Bundle;
use crate::chain::Chain;
use crate::constraint::{NameConstraints, Subtrees};
use crate::key::PrivateKey;
use crate::signature::RSA_KEY;
use crate::testing::{Maker, hours_later, key, now};

/// Leaf, CA and root, to be bent by each test.
struct Case {
    leaf: Box<dyn Fn(Maker<'_>) -> Certificate>,
    ca: Box<dyn Fn(Maker<'_>) -> Certificate>,
    root: Box<dyn Fn(Maker<'_>) -> Certificate>,
    asked: Asked,
}

/// A function and not a method of `Maker`, which would be one for a single lifetime.
fn make(maker: Maker<'_>) -> Certificate {
    maker.make()
}

fn case() -> Case {
    Case {
        leaf: Box::new(|maker| Maker { names: names(), hours: (-1, 24), ..maker }.make()),
        ca: Box::new(make),
        root: Box::new(make),
        asked: Asked {
            public_key: key(1).public_key().clone(),
            names: names(),
            usages: Usages::default(),
            is_ca: false,
            duration: Some(SignedDuration::from_hours(24)),
        },
    }
}

fn names() -> Vec<SubjectAltName> {
    vec![SubjectAltName::Dns("a.test".to_owned()), SubjectAltName::Email("U@a.test".to_owned())]
}

impl Case {
    fn issued(&self) -> Issued {
        let (leaf, ca, root) = (key(1), key(2), key(3));
        let chain = vec![
            (self.leaf)(Maker::leaf("leaf", &leaf, ("ca", &ca))),
            (self.ca)(Maker::ca("ca", &ca, Some(("root", &root)))),
        ];
        let root = (self.root)(Maker::ca("root", &root, None));
        Issued { chain: Chain::order(chain).unwrap(), ca: Bundle::of(vec![root]), notes: Vec::new() }
    }

    fn verify(&self) -> Result<Vec<Warning>, VerifyError> {
        verify(&self.issued(), &self.asked, now())
    }

    fn refused(&self, message: &str) {
        assert_eq!(self.verify().unwrap_err().to_string(), message);
    }

    fn warned(&self, message: &str) {
        let warnings: Vec<String> = self.verify().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(warnings, [message]);
    }
}

#[test]
fn check_0_what_was_asked_for_passes_without_a_word() {
    assert_eq!(case().verify(), Ok(Vec::new()));
}

#[test]
fn check_1_another_key_is_refused() {
    let asked = Asked { public_key: key(9).public_key().clone(), ..case().asked };
    Case { asked, ..case() }.refused("the certificate is for another key than the request's");
}

#[test]
fn check_2_a_link_that_was_not_signed_is_refused() {
    let forged = |maker: Maker<'_>| Maker { issuer: Some(("root", &key(9))), ..maker }.make();
    Case { ca: Box::new(forged), ..case() }
        .refused("certificate \"CN=ca\" was not signed by \"CN=root\", which follows it in the chain");
}

#[test]
fn check_2_one_of_several_cas_of_the_same_name_is_enough() {
    let mut issued = case().issued();
    let other = key(9);
    let namesake = Maker::ca("root", &other, None).make();
    let root = issued.ca.certificates().to_vec();
    issued.ca = Bundle::of([vec![namesake.clone()], root].concat());
    assert_eq!(verify(&issued, &case().asked, now()), Ok(Vec::new()));
    issued.ca = Bundle::of(vec![namesake]);
    assert!(matches!(verify(&issued, &case().asked, now()), Err(VerifyError::Link { .. })));
}

#[test]
fn check_2_a_renewed_root_is_enough_beside_the_expired_one_of_the_same_key() {
    let mut issued = case().issued();
    let own = key(3);
    let expired = Maker { hours: (-9, -1), ..Maker::ca("root", &own, None) }.make();
    let renewed = issued.ca.certificates().to_vec();
    for roots in
        [[vec![expired.clone()], renewed.clone()].concat(), [renewed, vec![expired.clone()]].concat()]
    {
        issued.ca = Bundle::of(roots);
        assert_eq!(verify(&issued, &case().asked, now()), Ok(Vec::new()));
    }
    issued.ca = Bundle::of(vec![expired]);
    assert!(matches!(verify(&issued, &case().asked, now()), Err(VerifyError::NotValid { .. })));
}

#[test]
fn check_2_an_upper_certificate_that_is_no_ca_is_refused() {
    let no_ca = |constraints| {
        Box::new(move |maker: Maker<'_>| Maker { constraints, ..maker }.make())
            as Box<dyn Fn(Maker<'_>) -> Certificate>
    };
    for constraints in [None, Some((false, None))] {
        Case { ca: no_ca(constraints), ..case() }
            .refused("certificate \"CN=ca\" stands above the leaf but is not a CA");
        Case { root: no_ca(constraints), ..case() }
            .refused("certificate \"CN=root\" stands above the leaf but is not a CA");
    }
    Case { root: no_ca(Some((true, Some(0)))), ..case() }
        .refused("CA \"CN=root\" has path length 0, but 1 CAs stand between it and the leaf");
    assert_eq!(Case { root: no_ca(Some((true, Some(1)))), ..case() }.verify(), Ok(Vec::new()));
}

#[test]
fn check_2_an_upper_certificate_that_must_not_sign_is_refused() {
    use x509_cert::ext::pkix::{KeyUsage, KeyUsages};
    let crl_sign =
        |maker: Maker<'_>| Maker { key_usage: Some(KeyUsage(KeyUsages::CRLSign.into())), ..maker }.make();
    Case { ca: Box::new(crl_sign), ..case() }
        .refused("certificate \"CN=ca\" stands above the leaf, but its key usage lacks cert sign");
}

#[test]
fn check_2_a_certificate_that_is_not_valid_now_is_refused_wherever_it_stands() {
    for hours in [(-9, -1), (1, 9)] {
        let late = || {
            Box::new(move |maker: Maker<'_>| Maker { names: names(), hours, ..maker }.make())
                as Box<dyn Fn(Maker<'_>) -> Certificate>
        };
        let (from, to) = (hours_later(hours.0), hours_later(hours.1));
        for (case, name) in [
            (Case { leaf: late(), ..case() }, "leaf"),
            (Case { ca: late(), ..case() }, "ca"),
            (Case { root: late(), ..case() }, "root"),
        ] {
            case.refused(&format!(
                "certificate \"CN={name}\" is valid from {from} to {to}, and now is {}",
                now()
            ));
        }
    }
}

#[test]
fn check_2_both_ends_of_the_validity_are_within() {
    let issued = case().issued();
    let leaf = issued.chain.leaf();
    let second = SignedDuration::from_secs(1);
    let valid = |at| verify(&issued, &case().asked, at).is_ok();
    assert!(valid(leaf.not_before()) && valid(leaf.not_after()));
    assert!(!valid(leaf.not_before() - second) && !valid(leaf.not_after() + second));
}

#[test]
fn check_3_a_validity_of_one_instant_is_warned_about() {
    let instant = |maker: Maker<'_>| Maker { names: names(), hours: (0, 0), ..maker }.make();
    Case { leaf: Box::new(instant), ..case() }
        .warned("the certificate ends in the second in which it begins, 2027-01-15T08:00:00Z");
}

#[test]
fn check_3_a_longer_life_than_asked_for_is_warned_about_and_a_shorter_one_is_not() {
    let asking = |secs: i64| {
        let asked = Asked { duration: Some(SignedDuration::from_secs(secs)), ..case().asked };
        Case { asked, ..case() }
    };
    asking(24 * 3_600 - 301).warned(
        "the certificate is valid until 2027-01-16T08:00:00Z, longer than the 23h 54m 59s that were asked for",
    );
    assert_eq!(asking(24 * 3_600 - 300).verify(), Ok(Vec::new()), "within the tolerance");
    assert_eq!(asking(48 * 3_600).verify(), Ok(Vec::new()), "the CA may cut");
    assert_eq!(asking(i64::MAX).verify(), Ok(Vec::new()));
    let asked = Asked { duration: None, ..case().asked };
    assert_eq!(Case { asked, ..case() }.verify(), Ok(Vec::new()));
}

#[test]
fn check_4_a_missing_name_is_refused_and_an_added_one_is_not() {
    let asking = |names: Vec<SubjectAltName>| Case { asked: Asked { names, ..case().asked }, ..case() };
    let dns = |name: &str| SubjectAltName::Dns(name.to_owned());
    asking(vec![dns("a.test"), dns("b.test"), SubjectAltName::Uri("a.test".to_owned())])
        .refused("the certificate lacks names that were asked for: DNS:b.test, URI:a.test");
    asking(vec![SubjectAltName::Email("u@a.test".to_owned())])
        .refused("the certificate lacks names that were asked for: email:u@a.test");
    let many = (0..5_000).map(|number| dns(&format!("{number}.test"))).collect();
    let told: Vec<String> = (0..10).map(|number| format!("DNS:{number}.test")).collect();
    asking(many).refused(&format!(
        "the certificate lacks names that were asked for: {} and 4990 more",
        told.join(", ")
    ));
    assert_eq!(asking(vec![dns("A.TEST")]).verify(), Ok(Vec::new()), "CAs may write domains in lower case");
    assert_eq!(asking(vec![SubjectAltName::Email("U@A.test".to_owned())]).verify(), Ok(Vec::new()));
    assert_eq!(asking(Vec::new()).verify(), Ok(Vec::new()));
}

#[test]
fn check_4_an_address_is_present_in_either_of_its_forms() {
    let ip = |text: &str| SubjectAltName::Ip(text.parse().unwrap());
    let leaf = |maker: Maker<'_>| {
        let names = vec![SubjectAltName::Ip("192.0.2.1".parse().unwrap())];
        Maker { names, hours: (-1, 24), ..maker }.make()
    };
    let asking =
        |name| Case { leaf: Box::new(leaf), asked: Asked { names: vec![name], ..case().asked }, ..case() };
    asking(ip("192.0.2.2")).refused("the certificate lacks names that were asked for: IP:192.0.2.2");
    asking(ip("::ffff:192.0.2.2"))
        .refused("the certificate lacks names that were asked for: IP:::ffff:192.0.2.2");
    assert_eq!(asking(ip("::ffff:192.0.2.1")).verify(), Ok(Vec::new()));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "what is tested is how long it takes")]
fn check_4_thousands_of_names_are_compared_in_no_time() {
    let names = |prefix: &str| -> Vec<SubjectAltName> {
        (0..20_000).map(|number| SubjectAltName::Dns(format!("{prefix}{number}.test"))).collect()
    };
    let leaf = Maker { names: names("n"), ..Maker::leaf("leaf", &key(1), ("ca", &key(2))) }.make();
    let asked = Asked { names: names("N"), ..case().asked };
    let start = std::time::Instant::now();
    assert_eq!(verify_names(&asked, &leaf), Ok(()));
    // Each against each would be two hundred million comparisons: many seconds in a build without optimisation.
    assert!(start.elapsed() < std::time::Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn check_5_a_ca_that_was_not_asked_for_is_refused() {
    let ca = |maker: Maker<'_>| {
        Maker { names: names(), hours: (-1, 24), constraints: Some((true, None)), ..maker }.make()
    };
    Case { leaf: Box::new(ca), ..case() }.refused("the certificate is a CA's, which was not asked for");
    let asked = Asked { is_ca: true, ..case().asked };
    assert_eq!(Case { leaf: Box::new(ca), asked, ..case() }.verify(), Ok(Vec::new()));
    let asked = Asked { is_ca: true, ..case().asked };
    assert_eq!(Case { asked, ..case() }.verify(), Ok(Vec::new()), "narrower than asked for is no harm");
}

#[test]
fn check_6_a_missing_extended_usage_is_warned_about() {
    let asking = |usages: &[&str]| {
        let usages = Usages::parse(usages).unwrap();
        Case { asked: Asked { usages, ..case().asked }, ..case() }
    };
    asking(&["client auth", "digital signature", "server auth"])
        .warned("the certificate lacks usages that were asked for: client auth, server auth");
    assert_eq!(asking(&["key agreement"]).verify(), Ok(Vec::new()), "only extended ones count");
}

#[test]
fn check_7_a_weak_signature_is_warned_about() {
    // Nothing here verifies SHA-1, so a weak signature can only be that of a top whose issuer was not given.
    let weak = |certificate: &Certificate, oid: &str| {
        let mut signed = crate::asn1::Signed::from_der(certificate.der()).unwrap();
        let body = signed.body_der().unwrap();
        let mut tbs = crate::asn1::TbsCertificate::from_der(&body).unwrap();
        tbs.signature.oid = ObjectIdentifier::new_unwrap(oid);
        signed.algorithm = tbs.signature.clone();
        signed.body = der::asn1::Any::encode_from(&tbs).unwrap();
        Certificate::from_der(&der::Encode::to_der(&signed).unwrap()).unwrap()
    };
    let plain = case().issued();
    for (oid, _) in signature::WEAK {
        let chain = Chain::order(vec![weak(plain.chain.leaf(), oid)]).unwrap();
        let issued = Issued { chain, ca: Bundle::default(), notes: Vec::new() };
        let warnings = verify(&issued, &case().asked, now()).unwrap();
        let subject = "CN=leaf".to_owned();
        assert_eq!(warnings, [Warning::WeakSignature { subject, algorithm: oid.to_owned() }]);
    }
    let root = plain.ca.certificates().first().unwrap();
    let weak_root = weak(root, "1.2.840.113549.1.1.5");
    let issued = Issued { ca: Bundle::of(vec![weak_root]), ..plain };
    assert_eq!(verify(&issued, &case().asked, now()), Ok(Vec::new()), "nobody looks at a root's signature");
}

#[test]
fn check_7_a_short_rsa_key_is_warned_about() {
    let rsa = |bits: usize| -> PublicKey {
        let octets = bits.div_ceil(8);
        let mut modulus = vec![0xff; octets];
        modulus[0] = u8::MAX >> (octets * 8 - bits);
        let numbers = vec![Uint::new(&modulus).unwrap(), Uint::new(&[1, 0, 1]).unwrap()];
        let mut spki = key(1).public_key().spki().clone();
        spki.algorithm.oid = RSA_KEY;
        let der = der::Encode::to_der(&numbers).unwrap();
        spki.subject_public_key = BitString::from_bytes(&der).unwrap();
        PublicKey::from_spki(spki).unwrap()
    };
    for bits in [512, 1_024, 2_047, 2_048, 4_096] {
        assert_eq!(rsa(bits).rsa_bits(), Some(bits));
    }
    assert_eq!(key(1).public_key().rsa_bits(), None);
    let (own, public) = (key(2), rsa(1_024));
    let template = crate::authority::Template {
        issuer: crate::name::Subject::common_name("ca").to_name().unwrap(),
        subject: crate::name::Subject::common_name("leaf").to_name().unwrap(),
        public_key: &public,
        validity: (now(), hours_later(1)),
        extensions: crate::extension::Extensions::default(),
    };
    let leaf = template.sign(&own, der::asn1::Int::new(&[7]).unwrap()).unwrap();
    let chain = Chain::order(vec![leaf]).unwrap();
    let issued = Issued { chain, ca: Bundle::default(), notes: Vec::new() };
    let asked = Asked { public_key: public.clone(), names: Vec::new(), ..case().asked };
    let warnings = verify(&issued, &asked, now()).unwrap();
    assert_eq!(warnings, [Warning::WeakKey { subject: "CN=leaf".to_owned(), bits: 1_024 }]);
}

#[test]
fn a_ca_that_has_nothing_to_do_with_the_chain_is_warned_about() {
    let mut issued = case().issued();
    let other = key(9);
    issued.ca = Bundle::of(vec![Maker::ca("other", &other, None).make()]);
    let warnings = verify(&issued, &case().asked, now()).unwrap();
    assert_eq!(warnings, [Warning::NoAnchor { top: "CN=ca".to_owned() }]);
    issued.ca = Bundle::default();
    assert_eq!(verify(&issued, &case().asked, now()), Ok(Vec::new()), "an issuer need not give one");
    issued.ca = Bundle::of(issued.chain.certificates().get(1..).unwrap().to_vec());
    assert_eq!(verify(&issued, &case().asked, now()), Ok(Vec::new()), "the highest intermediate");
}

#[test]
fn a_name_that_a_ca_above_does_not_permit_is_warned_about() {
    let constrained = |maker: Maker<'_>| {
        let permitted = Subtrees { dns_domains: vec!["b.test".to_owned()], ..Subtrees::default() };
        let constraints = NameConstraints { permitted, ..NameConstraints::default() };
        Maker { name_constraints: Some(constraints), ..maker }.make()
    };
    let warnings = Case { root: Box::new(constrained), ..case() }.verify().unwrap();
    assert!(matches!(warnings.as_slice(), [Warning::NotPermitted(_)]), "{warnings:?}");
}

#[test]
fn what_a_request_on_terms_asks_for_is_taken_from_both() {
    let spec = crate::request::RequestSpec { names: names(), ..Default::default() };
    let own: PrivateKey = key(1);
    let request = Request::build(&spec, &own).unwrap();
    let terms = Terms { is_ca: true, duration: SignedDuration::from_hours(2), ..Terms::default() };
    let asked = Asked::of(&request, &terms);
    assert_eq!((asked.names, asked.is_ca, asked.duration), (names(), true, Some(terms.duration)));
    assert_eq!((&asked.public_key, asked.usages), (own.public_key(), terms.usages));
}
