//! What is refused, with the text that a user sees, and what is made of the rest.

use super::*;

/// `pairs` are attributes without their prefix, beside an issuer and a pod's data.
fn parse(pairs: &[(&str, &str)]) -> Result<Attributes, AttributeErrors> {
    let mut context = HashMap::from([
        (csi::ISSUER_NAME.to_owned(), "ca".to_owned()),
        (csi_context::POD_NAME.to_owned(), "web-0".to_owned()),
        (csi_context::POD_NAMESPACE.to_owned(), "team-a".to_owned()),
        (csi_context::POD_UID.to_owned(), "u-1".to_owned()),
        (csi_context::SERVICE_ACCOUNT_NAME.to_owned(), "web".to_owned()),
    ]);
    context.extend(pairs.iter().map(|(k, v)| (format!("{}{k}", csi::PREFIX), (*v).to_owned())));
    Attributes::parse(&context)
}

fn refused(pairs: &[(&str, &str)], expected: &str) {
    let error = parse(pairs).expect_err("must be refused").to_string();
    let expected = expected.replace("@", "volumeAttributes.csi.cert-manager.io/");
    assert_eq!(error, expected, "{pairs:?}");
}

fn check(pairs: &[(&str, &str)], expected: impl Fn(&Attributes) -> bool) {
    let attributes = parse(pairs).expect("must be accepted");
    assert!(expected(&attributes), "{pairs:?} gave {attributes:?}");
}

#[test]
fn values_outside_the_supported_ones_are_refused_with_those() {
    let algorithms = "supported values: \"RSA\", \"ECDSA\", \"Ed25519\"";
    let booleans = "supported values: \"true\", \"false\"";
    refused(
        &[("key-algorithm", "DSA")],
        &format!("@key-algorithm: Unsupported value: \"DSA\": {algorithms}"),
    );
    refused(&[("is-ca", "True")], &format!("@is-ca: Unsupported value: \"True\": {booleans}"));
    refused(
        &[("reuse-private-key", "1")],
        &format!("@reuse-private-key: Unsupported value: \"1\": {booleans}"),
    );
    refused(
        &[("key-encoding", "DER")],
        "@key-encoding: Unsupported value: \"DER\": supported values: \"PKCS1\", \"PKCS8\"",
    );
}

#[test]
fn key_sizes_and_encodings_must_fit_the_algorithm() {
    refused(&[("key-size", "big")], "@key-size: Invalid value: \"big\": must be a number of bits");
    refused(
        &[("key-size", "1024")],
        "@key-size: Invalid value: \"1024\": RSA keys of 1024 bits are not supported; use 2048, 3072, 4096 or 8192",
    );
    refused(
        &[("key-algorithm", "ecdsa"), ("key-size", "224")],
        "@key-size: Invalid value: \"224\": ECDSA keys of 224 bits are not supported; use 256, 384 or 521",
    );
    refused(
        &[("key-algorithm", "Ed25519"), ("key-size", "256")],
        "@key-size: Invalid value: \"256\": Ed25519 has one size only; leave it out",
    );
    refused(
        &[("key-algorithm", "ECDSA"), ("key-encoding", "pkcs1")],
        "@key-encoding: Invalid value: \"pkcs1\": is for RSA keys only; use PKCS8",
    );
}

#[test]
fn durations_must_be_longer_than_zero_and_in_go_syntax() {
    refused(&[("duration", "0s")], "@duration: Invalid value: \"0s\": must be longer than zero");
    refused(&[("renew-before", "-1h")], "@renew-before: Invalid value: \"-1h\": must be longer than zero");
    assert!(parse(&[("renew-before", "")]).is_err(), "a key without a value");
    assert!(parse(&[("duration", "90d")]).is_err(), "days");
}

#[test]
fn broken_lists_and_unknown_variables_are_refused() {
    refused(
        &[("dns-names", "a.test,")],
        "@dns-names: Invalid value: \"a.test,\": a name in the list is empty; remove the comma beside it",
    );
    refused(&[("ip-sans", "${POD_NAME}")], "@ip-sans: Invalid value: \"${POD_NAME}\": is not an IP address");
    refused(
        &[("common-name", "$HOSTNAME")],
        "@common-name: Invalid value: \"$HOSTNAME\": there is no variable \"HOSTNAME\"; the variables are \
         POD_NAME, POD_NAMESPACE, POD_UID, SERVICE_ACCOUNT_NAME",
    );
    for (key, value) in
        [("uri-sans", "spiffe://a,"), ("organizations", "a\"b"), ("key-usages", "server auth,")]
    {
        assert!(parse(&[(key, value)]).is_err(), "{key}={value}");
    }
}

#[test]
fn file_names_that_leave_the_volume_or_collide_are_refused() {
    for name in ["/a", "../a", "..data", "a/b", ".", " a", "a ", &"a".repeat(256)] {
        assert!(parse(&[("certificate-file", name)]).is_err(), "{name:?}");
    }
    refused(
        &[("certificate-file", "ca.crt")],
        "@ca-file: Duplicate value: \"ca.crt\": each file needs a name of its own",
    );
    refused(
        &[("privatekey-file", "tls.crt")],
        "@privatekey-file: Duplicate value: \"tls.crt\": each file needs a name of its own",
    );
}

#[test]
fn group_ids_are_numbers_from_one() {
    for text in ["0", "-1", "4294967296", "staff"] {
        assert!(parse(&[("fs-group", text)]).is_err(), "{text}");
    }
    check(&[("fs-group", "4294967295")], |a| a.fs_group == Some(u32::MAX));
}

#[test]
fn attributes_that_are_not_built_are_refused_by_name() {
    let not_yet = "Forbidden: not supported yet by this driver";
    refused(&[("literal-subject", "CN=a")], &format!("@literal-subject: {not_yet}"));
    refused(&[("pkcs12-enable", "true")], &format!("@pkcs12-enable: {not_yet}"));
    refused(&[("pkcs12-password", "hunter2")], &format!("@pkcs12-password: {not_yet}"));
    check(&[("pkcs12-enable", "false"), ("pkcs12-password", "x")], |_| true);
}

#[test]
fn all_faults_are_told_at_once() {
    refused(
        &[("issuer-name", ""), ("is-ca", "no")],
        "[@issuer-name: Required value, @is-ca: Unsupported value: \"no\": supported values: \"true\", \"false\"]",
    );
}

#[test]
fn an_issuer_alone_is_enough() {
    check(&[], |a| {
        a.issuer.kind_or_default() == "Issuer"
            && a.issuer.is_own_group()
            && a.subject == Subject::default()
            && a.names.is_empty()
            && a.duration == SignedDuration::from_hours(2160)
            && a.renew_before.is_none()
            && !a.is_ca
            && a.usages.same_as(&Usages::default())
            && a.key == KeyAlgorithm::Rsa(RsaSize::Bits2048)
            && a.key_encoding == KeyEncoding::Pkcs1
            && a.files.certificate.as_str() == "tls.crt"
            && a.files.private_key.as_str() == "tls.key"
            && a.files.ca.as_str() == "ca.crt"
            && a.fs_group.is_none()
    });
}

#[test]
fn names_are_expanded_split_and_trimmed() {
    let dns = |name: &str| SubjectAltName::Dns(name.to_owned());
    check(&[("dns-names", "${POD_NAME}.${POD_NAMESPACE}.svc, b.test")], |a| {
        a.names == [dns("web-0.team-a.svc"), dns("b.test")]
    });
    check(&[("uri-sans", "spiffe://x/ns/$POD_NAMESPACE/sa/$SERVICE_ACCOUNT_NAME")], |a| {
        a.names == [SubjectAltName::Uri("spiffe://x/ns/team-a/sa/web".to_owned())]
    });
    check(&[("ip-sans", "10.0.0.1, ::1, ::ffff:10.0.0.2")], |a| {
        let all: Vec<_> = a.names.iter().map(ToString::to_string).collect();
        all == ["IP:10.0.0.1", "IP:::1", "IP:10.0.0.2"]
    });
}

#[test]
fn subjects_are_expanded_before_they_are_split() {
    check(&[("organizations", "\"A, Inc\",$POD_NAME, c"), ("serialnumber", "$POD_UID")], |a| {
        a.subject.organizations == ["A, Inc", "web-0", " c"]
            && a.subject.serial_number.as_deref() == Some("$POD_UID")
    });
}

#[test]
fn keys_of_our_prefix_that_nobody_reads_are_found() {
    let context = ["csi.cert-manager.io/dns-name", "csi.cert-manager.io/dns-names", "other.io/x"]
        .map(|key| (key.to_owned(), String::new()));
    assert_eq!(unknown_keys(&HashMap::from(context)), ["csi.cert-manager.io/dns-name"]);
}
