use der::Encode as _;

use super::*;

/// A kind of name, a name of it, and whether it passes under these permitted and excluded subtrees.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Dns,
    Email,
    Uri,
}

fn judge(kind: Kind, name: &str, permitted: &[&str], excluded: &[&str]) -> Result<(), NotPermitted> {
    let subtrees = |bases: &[&str]| {
        let bases: Vec<String> = bases.iter().map(ToString::to_string).collect();
        match kind {
            Kind::Dns => Subtrees { dns_domains: bases, ..Subtrees::default() },
            Kind::Email => Subtrees { email_addresses: bases, ..Subtrees::default() },
            Kind::Uri => Subtrees { uri_domains: bases, ..Subtrees::default() },
        }
    };
    let (permitted, excluded) = (subtrees(permitted), subtrees(excluded));
    let one = vec![name.to_owned()];
    let names = match kind {
        Kind::Dns => Names { dns: one, ..Names::default() },
        Kind::Email => Names { emails: one, ..Names::default() },
        Kind::Uri => Names { uris: one, ..Names::default() },
    };
    check("CN=ca", &NameConstraints { critical: true, permitted, excluded }, &names)
}

/// Whether `base` holds `name`, which must show alike when it is permitted and when it is excluded.
fn held(kind: Kind, name: &str, base: &str, expected: bool) {
    assert_eq!(judge(kind, name, &[base], &[]).is_ok(), expected, "{name:?} permitted in {base:?}");
    assert_eq!(judge(kind, name, &[], &[base]).is_err(), expected, "{name:?} excluded by {base:?}");
}

#[test]
fn a_dns_subtree_holds_its_domain_and_what_is_below() {
    held(Kind::Dns, "b.test", "a.test", false);
    held(Kind::Dns, "ba.test", "a.test", false);
    held(Kind::Dns, "test", "a.test", false);
    held(Kind::Dns, "a.test.evil", "a.test", false);
    held(Kind::Dns, "a.test", ".a.test", false);
    held(Kind::Dns, "a.test", "a.test", true);
    held(Kind::Dns, "A.Test", "a.tEST", true);
    held(Kind::Dns, "a.test.", "a.test", true);
    held(Kind::Dns, "x.y.a.test", "a.test", true);
    held(Kind::Dns, "x.a.test", ".a.test", true);
    held(Kind::Dns, "*.a.test", "a.test", true);
    held(Kind::Dns, "*.a.test", ".a.test", true);
    held(Kind::Dns, "anything", "", true);
}

#[test]
fn a_wildcard_is_excluded_with_the_names_that_it_could_stand_for() {
    let excluded = |name: &str, base: &str| judge(Kind::Dns, name, &[], &[base]).is_err();
    assert!(excluded("*.a.test", "b.a.test"));
    assert!(!excluded("*.a.test", "c.b.a.test"), "a wildcard stands for one label");
    assert!(!excluded("*.a.test", "b.b.test"));
    assert!(judge(Kind::Dns, "*.a.test", &["b.a.test"], &[]).is_err(), "it stands for others too");
}

#[test]
fn an_email_subtree_is_a_mailbox_a_host_or_what_is_below_a_domain() {
    held(Kind::Email, "u@a.test", "v@a.test", false);
    held(Kind::Email, "U@a.test", "u@a.test", false);
    held(Kind::Email, "u@x.a.test", "a.test", false);
    held(Kind::Email, "u@a.test", ".a.test", false);
    held(Kind::Email, "u@a.test@b.test", "a.test", false);
    held(Kind::Email, "u@A.test", "u@a.test", true);
    held(Kind::Email, "u@A.test", "a.test", true);
    held(Kind::Email, "u@x.a.test", ".a.test", true);
    held(Kind::Email, "u@a.test", "", true);
}

#[test]
fn a_uri_subtree_is_a_host_or_what_is_below_a_domain() {
    held(Kind::Uri, "https://x.a.test/", "a.test", false);
    held(Kind::Uri, "https://a.test/", ".a.test", false);
    held(Kind::Uri, "https://evil.test/@a.test", "a.test", false);
    held(Kind::Uri, "https://a.test@evil.test/", "a.test", false);
    held(Kind::Uri, "https://evil.test?@a.test", "a.test", false);
    held(Kind::Uri, "https://a.test", "a.test", true);
    held(Kind::Uri, "https://u:p@A.test:443/p?q#f", "a.test", true);
    held(Kind::Uri, "spiffe://td/ns/a/sa/b", "td", true);
    held(Kind::Uri, "https://x.a.test/", ".a.test", true);
}

#[test]
fn a_name_that_cannot_be_judged_is_refused_under_any_constraint_of_its_kind() {
    let unclear = [
        (Kind::Uri, "urn:uuid:1"),
        (Kind::Uri, "https://192.0.2.1/"),
        (Kind::Uri, "https://[2001:db8::1]/"),
        (Kind::Uri, "https:///a.test"),
        (Kind::Uri, "https://evil.test\\@a.test/"),
        (Kind::Uri, "https://a%2etest/"),
        (Kind::Email, "a.test"),
        (Kind::Email, "@a.test"),
        (Kind::Email, "u@"),
        (Kind::Dns, ""),
        (Kind::Dns, "a..test"),
        (Kind::Dns, "bücher.test"),
    ];
    for (kind, name) in unclear {
        for (permitted, excluded) in [(&["a.test"][..], &[][..]), (&[], &["b.test"])] {
            let judged = judge(kind, name, permitted, excluded);
            assert!(matches!(judged, Err(NotPermitted::Unclear { .. })), "{kind:?} {name:?}: {judged:?}");
        }
        assert_eq!(judge(kind, name, &[], &[]), Ok(()), "nothing is said about this kind");
    }
}

#[test]
fn what_is_excluded_is_refused_even_if_it_is_permitted() {
    let message = judge(Kind::Dns, "x.a.test", &["a.test"], &["x.a.test"]).unwrap_err().to_string();
    assert_eq!(
        message,
        "DNS name \"x.a.test\" is excluded by CA \"CN=ca\", which signs for nothing in \"x.a.test\"; \
         ask another issuer"
    );
    assert_eq!(judge(Kind::Dns, "y.a.test", &["b.test", "a.test"], &["x.a.test"]), Ok(()));
}

fn judge_ip(octets: &[u8], permitted: &[&str], excluded: &[&str]) -> bool {
    let subtrees = |ranges: &[&str]| Subtrees {
        ip_ranges: ranges.iter().map(|range| range.parse().unwrap()).collect(),
        ..Subtrees::default()
    };
    let names = Names { ips: vec![octets.to_vec()], ..Names::default() };
    let (permitted, excluded) = (subtrees(permitted), subtrees(excluded));
    check("CN=ca", &NameConstraints { critical: false, permitted, excluded }, &names).is_ok()
}

#[test]
fn an_address_is_held_by_ranges_of_its_own_family() {
    let mapped: Vec<u8> = [[0; 10].as_slice(), &[0xff; 2], &[192, 0, 2, 1]].concat();
    assert!(!judge_ip(&[192, 0, 3, 1], &["192.0.2.0/24"], &[]));
    assert!(!judge_ip(&[192, 0, 2, 1], &["2001:db8::/32"], &[]), "IPv4 where only IPv6 is permitted");
    assert!(!judge_ip(&mapped, &["192.0.2.0/24"], &[]));
    assert!(!judge_ip(&[192, 0, 2, 1], &[], &["192.0.2.0/31"]));
    assert!(!judge_ip(&[1, 2, 3], &["0.0.0.0/0"], &[]), "three octets");
    assert!(judge_ip(&[192, 0, 2, 255], &["192.0.2.0/24"], &["192.0.2.0/25"]));
    assert!(judge_ip(&[9, 9, 9, 9], &["0.0.0.0/0"], &["::/0"]));
    assert!(judge_ip(&mapped, &["::ffff:0:0/96"], &[]));
}

/// A Name with one attribute in each relative name.
fn directory(attributes: &[(&str, Any)]) -> Any {
    let relative = |(oid, value): &(&str, Any)| {
        let oid = ObjectIdentifier::new_unwrap(oid);
        let attribute = AttributeTypeAndValue { oid, value: value.clone() };
        Any::new(Tag::Set, attribute.to_der().unwrap()).unwrap().to_der().unwrap()
    };
    let relative_names: Vec<u8> = attributes.iter().flat_map(relative).collect();
    Any::new(Tag::Sequence, relative_names).unwrap()
}

fn constraints_on_directories(critical: bool, permitted: &[u8], excluded: &[u8]) -> NameConstraints {
    // GeneralSubtrees with one base each, written by hand: the type that writes them does not make these.
    let list = |tag: u8, base: &[u8]| -> Vec<u8> {
        let subtree = [&[0x30, u8::try_from(base.len()).unwrap()], base].concat();
        let all = [&[tag, u8::try_from(subtree.len()).unwrap()], subtree.as_slice()].concat();
        if base.is_empty() { Vec::new() } else { all }
    };
    let both = [list(0xa0, permitted), list(0xa1, excluded)].concat();
    let der = [&[0x30, u8::try_from(both.len()).unwrap()], both.as_slice()].concat();
    NameConstraints::from_der(&der, critical).unwrap()
}

#[test]
fn directory_names_begin_with_permitted_ones_and_look_like_excluded_ones() {
    let utf8 = |text: &str| Any::new(Tag::Utf8String, text.as_bytes()).unwrap();
    let printable = |text: &str| Any::new(Tag::PrintableString, text.as_bytes()).unwrap();
    let bmp = |text: &str| {
        let octets: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        Any::new(Tag::BmpString, octets).unwrap()
    };
    let base = directory(&[("2.5.4.10", utf8("Example Ltd"))]).to_der().unwrap();
    let base = [&[0xa4, u8::try_from(base.len()).unwrap()], base.as_slice()].concat();
    let begins = |attributes: &[(&str, Any)], permitted: bool, excluded: bool| {
        let directory = Directory::read(&directory(attributes)).unwrap();
        let names = Names { directories: vec![directory], ..Names::default() };
        let judged = |permitted: &[u8], excluded: &[u8]| {
            check("CN=ca", &constraints_on_directories(true, permitted, excluded), &names)
        };
        assert_eq!(judged(&base, &[]).is_ok(), permitted, "{attributes:?}");
        assert_eq!(judged(&[], &base).is_err(), excluded, "{attributes:?}");
    };
    let name = || ("2.5.4.3", utf8("leaf"));
    begins(&[name()], false, false);
    begins(&[name(), ("2.5.4.10", utf8("Example Ltd"))], false, false);
    begins(&[("2.5.4.11", utf8("Example Ltd")), name()], false, false);
    begins(&[("2.5.4.10", utf8("example  LTD")), name()], false, true);
    begins(&[("2.5.4.10", printable("Example Ltd")), name()], false, true);
    begins(&[("2.5.4.10", bmp("Example Ltd")), name()], false, true);
    begins(&[("2.5.4.10", Any::new(Tag::TeletexString, *b"Example Ltd").unwrap()), name()], false, true);
    // What is no text might look like anything, so nothing is excluded with certainty.
    begins(&[("2.5.4.11", Any::new(Tag::OctetString, *b"x").unwrap()), name()], false, true);
    begins(
        &[("2.5.4.10", utf8("Example Ltd")), ("2.5.4.45", Any::new(Tag::BitString, *b"\0x").unwrap())],
        true,
        true,
    );
    begins(&[("2.5.4.10", utf8("Example Ltd")), name()], true, true);
    begins(&[("2.5.4.10", utf8("Example Ltd"))], true, true);
}

#[test]
fn critical_constraints_of_a_kind_without_rules_refuse_everything() {
    let registered = [0x88, 2, 0x2a, 3];
    for (permitted, excluded) in [(&registered[..], &[][..]), (&[], &registered)] {
        let critical = constraints_on_directories(true, permitted, excluded);
        let error = check("CN=ca", &critical, &Names::default()).unwrap_err();
        assert_eq!(error, NotPermitted::Kind { ca: "CN=ca".to_owned(), kind: "registeredID" });
        let lenient = constraints_on_directories(false, permitted, excluded);
        assert_eq!(check("CN=ca", &lenient, &Names::default()), Ok(()));
    }
}

#[test]
fn more_comparisons_than_any_verifier_makes_are_refused() {
    let many = |count: usize| (0..count).map(|number| format!("n{number}.a.test")).collect::<Vec<_>>();
    let names = Names { dns: many(501), ..Names::default() };
    let permitted = Subtrees { dns_domains: many(499), ..Subtrees::default() };
    let constraints = NameConstraints { permitted, ..NameConstraints::default() };
    assert!(matches!(check("CN=ca", &constraints, &names), Err(NotPermitted::Outside { .. })));
    let permitted = Subtrees { dns_domains: many(500), ..Subtrees::default() };
    let constraints = NameConstraints { permitted, ..NameConstraints::default() };
    assert!(matches!(check("CN=ca", &constraints, &names), Err(NotPermitted::TooMany { .. })));
}

#[test]
fn a_common_name_is_a_dns_name_where_there_is_no_other() {
    use crate::name::{Subject, SubjectAltName};
    use crate::request::RequestSpec;
    let dns_of = |common_name: &str, names: Vec<SubjectAltName>, is_ca: bool| {
        let subject = Subject::common_name(common_name).into();
        let spec = RequestSpec { subject, names, ..RequestSpec::default() };
        Names::of_request(&Request::build(&spec, &crate::testing::key(1)).unwrap(), is_ca).unwrap().dns
    };
    let email = || vec![SubjectAltName::Email("u@a.test".to_owned())];
    for no_dns_name in ["leaf", "a b.test", "-a.test", "a..test", "u@a.test"] {
        assert!(dns_of(no_dns_name, email(), false).is_empty(), "{no_dns_name:?}");
    }
    assert!(dns_of("a.test", email(), true).is_empty(), "a CA's common name is no host");
    assert_eq!(dns_of("a.test", vec![SubjectAltName::Dns("b.test".to_owned())], false), ["b.test"]);
    assert_eq!(dns_of("*.a.test", email(), false), ["*.a.test"]);
}

/// The names of a subject without alternative names.
fn names_of(subject: &Any) -> Result<Names, NotPermitted> {
    Names::of(subject, &Extensions::default(), false)
}

#[test]
fn every_common_name_that_looks_like_a_dns_name_is_one() {
    let check = |values: &[Any], expected: &[&str]| {
        let attributes: Vec<_> = values.iter().map(|value| ("2.5.4.3", value.clone())).collect();
        assert_eq!(names_of(&directory(&attributes)).unwrap().dns, expected, "{values:?}");
    };
    let utf8 = |text: &str| Any::new(Tag::Utf8String, text.as_bytes()).unwrap();
    check(&[utf8("ok.a.test"), utf8("evil.test")], &["ok.a.test", "evil.test"]);
    check(&[utf8("leaf"), utf8("evil.test")], &["evil.test"]);
    check(&[Any::new(Tag::BmpString, *b"\0e\0.\0t").unwrap()], &["e.t"]);
    check(&[utf8("leaf"), utf8("")], &[]);
    check(&[utf8("evil.test\0\0")], &["evil.test"]);
    check(&[utf8("evil.test\0.a.test")], &["evil.test\0.a.test"]);
    check(&[Any::new(Tag::OctetString, *b"evil.test").unwrap()], &[""]);
    for unclear in ["", "evil.test\0.a.test"] {
        let judged = judge(Kind::Dns, unclear, &["a.test"], &[]);
        assert!(matches!(judged, Err(NotPermitted::Unclear { .. })), "{judged:?}");
    }
}

#[test]
fn an_email_address_of_the_subject_is_read_in_its_string_type() {
    let emails = |value: Any| names_of(&directory(&[("1.2.840.113549.1.9.1", value)])).unwrap().emails;
    assert_eq!(emails(Any::new(Tag::BmpString, *b"\0u\0@\0t").unwrap()), ["u@t"]);
    assert_eq!(emails(Any::new(Tag::OctetString, *b"u@a.test").unwrap()), [""]);
    assert!(judge(Kind::Email, "", &[], &["a.test"]).is_err());
}

#[test]
fn names_that_cannot_be_read_are_an_error() {
    let sound = directory(&[]);
    let with = |values: &[&[u8]]| {
        let raw = |value: &&[u8]| x509_cert::ext::Extension {
            extn_id: SUBJECT_ALT_NAME,
            critical: false,
            extn_value: der::asn1::OctetString::new(*value).unwrap(),
        };
        Names::of(&sound, &Extensions(values.iter().map(raw).collect()), false).map(|_| ())
    };
    assert_eq!(with(&[&[0x30, 0], &[0x30, 0]]), Err(ALTERNATIVE_NAMES), "twice");
    assert_eq!(with(&[&[0x30, 1]]), Err(ALTERNATIVE_NAMES));
    assert_eq!(with(&[&[0x30, 2, 0x05, 0]]), Err(ALTERNATIVE_NAMES));
    assert_eq!(with(&[&[0x30, 3, 0x82, 1, 0xff]]), Err(ALTERNATIVE_NAMES));
    assert_eq!(with(&[&[0x30, 4, 0xa4, 2, 0x31, 0]]), Err(ALTERNATIVE_NAMES));
    assert_eq!(with(&[&[0x30, 2, 0x88, 0]]), Ok(()), "no kind that is held against anything");
    for subject in [&[0x30, 2, 0x31, 0][..], &[0x31, 0], &[0x30, 1, 0x31]] {
        assert_eq!(names_of(&Any::from_der(subject).unwrap()).map(|_| ()), Err(SUBJECT), "{subject:02x?}");
    }
}

#[test]
fn a_relative_name_that_is_not_sorted_is_a_name_all_the_same() {
    // SET { OU=b, O=a }: sorted by DER, O comes first.
    let (ou, o) = ([0x30, 8, 6, 3, 0x55, 4, 11, 12, 1, b'b'], [0x30, 8, 6, 3, 0x55, 4, 10, 12, 1, b'a']);
    let subject = [[0x30, 22, 0x31, 20].as_slice(), &ou, &o].concat();
    let names = names_of(&Any::from_der(&subject).unwrap()).unwrap();
    let base = [[0xa4, 24, 0x30, 22, 0x31, 20].as_slice(), &o, &ou].concat();
    let judged = check("CN=ca", &constraints_on_directories(true, &[], &base), &names);
    assert!(matches!(judged, Err(NotPermitted::Excluded { .. })), "{judged:?}");
}

#[test]
fn a_subtree_of_directory_names_that_cannot_be_read_refuses_everything() {
    for base in
        [&[0xa4, 2, 0x31, 0][..], &[0xa4, 4, 0x30, 2, 0x31, 0], &[0xa4, 0], &[0xa4, 4, 0x30, 0, 0x30, 0]]
    {
        for critical in [true, false] {
            for (permitted, excluded) in [(base, &[][..]), (&[], base)] {
                let constraints = constraints_on_directories(critical, permitted, excluded);
                let judged = check("CN=ca", &constraints, &Names::default());
                assert_eq!(judged, Err(NotPermitted::Base { ca: "CN=ca".to_owned() }), "{base:02x?}");
            }
        }
    }
}

#[test]
fn every_kind_of_alternative_name_and_the_subject_are_seen() {
    let inner = directory(&[("2.5.4.3", Any::new(Tag::Utf8String, *b"x").unwrap())]).to_der().unwrap();
    let inner_len = u8::try_from(inner.len()).unwrap();
    let names = [
        [0x81, 1, b'e'].as_slice(),
        &[0x82, 1, b'd'],
        &[0x86, 1, b'u'],
        &[0x87, 4, 192, 0, 2, 1],
        &[&[0xa4, inner_len], inner.as_slice()].concat(),
        &[0x88, 1, 0x2a],
    ]
    .concat();
    let value = [&[0x30, u8::try_from(names.len()).unwrap()], names.as_slice()].concat();
    let raw = x509_cert::ext::Extension {
        extn_id: SUBJECT_ALT_NAME,
        critical: false,
        extn_value: der::asn1::OctetString::new(value).unwrap(),
    };
    let email = Any::new(Tag::Ia5String, *b"s@a.test").unwrap();
    let subject = directory(&[("1.2.840.113549.1.9.1", email)]);
    let names = Names::of(&subject, &Extensions(vec![raw]), false).unwrap();
    assert_eq!(names.emails, ["e", "s@a.test"]);
    assert_eq!((names.dns, names.uris), (vec!["d".to_owned()], vec!["u".to_owned()]));
    assert_eq!((names.ips, names.directories.len()), (vec![vec![192, 0, 2, 1]], 2));
}
