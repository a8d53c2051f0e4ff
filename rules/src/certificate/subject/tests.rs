use serde_json::json;

use super::super::testing::{check, check_in, warns};
use crate::case::{Context, Settings};

const FORM: &str = "write attributes from the most specific one on, such as \"CN=web,OU=shop,O=Example\"";
const TYPES: &str = "write C, O, OU, CN, SERIALNUMBER, L, ST, STREET, DC, UID or a dotted object identifier";

#[test]
fn a_literal_subject_without_its_gate_is_refused() {
    let settings = Settings { literal_certificate_subject: false, ..Settings::DEFAULT };
    let context = Context { settings: &settings, ..Context::default() };
    let forbidden = "C05 spec.literalSubject: Forbidden: literal subjects are switched off; use spec.commonName and spec.subject, or ask for the gate LiteralCertificateSubject";
    check_in(context, &json!({"literalSubject": "CN=web"}), &[forbidden], &[]);
    check_in(context, &json!({"literalSubject": ""}), &[], &[]);
    check_in(context, &json!({"literalSubject": " \t\n"}), &[], &[]);
}

#[test]
fn a_literal_subject_stands_alone() {
    check(
        &json!({"literalSubject": "CN=web", "commonName": "web"}),
        &[
            "C06 spec.commonName: Invalid value: \"web\": spec.literalSubject is the whole subject; write the common name there as CN=..., and leave this out",
        ],
    );
    let exclusive = "C07 spec.subject: Invalid value: spec.literalSubject is the whole subject; write these attributes there, and leave them out here";

    check(&json!({"literalSubject": "CN=web", "subject": {"serialNumber": "1"}}), &[exclusive]);
    check(&json!({"literalSubject": "CN=web", "subject": {"countries": ["DE"]}}), &[exclusive]);
    check(&json!({"literalSubject": "CN=web", "subject": {"countries": [], "serialNumber": ""}}), &[]);
    check(&json!({"literalSubject": "CN=web", "commonName": ""}), &[]);
    check(&json!({"literalSubject": "  ", "commonName": "web", "subject": {"countries": ["DE"]}}), &[]);
}

#[test]
fn a_literal_subject_that_is_no_distinguished_name_is_refused() {
    for (text, detail) in [
        ("web", "at character 1: an attribute is a type, an equals sign and a value"),
        ("CN=web,", "at character 8: an attribute is a type, an equals sign and a value"),
    ] {
        let refused = format!("C08 spec.literalSubject: Invalid value: {}: {detail}; {FORM}", json!(text));
        check(&json!({"literalSubject": text}), &[&refused]);
        check(&json!({"literalSubject": text, "dnsNames": null}), &[&refused]);
    }
    check(
        &json!({"literalSubject": "CN=#0A0178"}),
        &[&format!(
            "C09 spec.literalSubject: Invalid value: \"CN=#0A0178\": at character 4: a common name is text; the DER after the # is of another type; {FORM}"
        )],
    );
    check(&json!({"literalSubject": "CN=#160161"}), &[]);
}

#[test]
fn each_unknown_attribute_of_a_literal_subject_is_told() {
    let unknown = |kind: &str| {
        format!(
            "C10 spec.literalSubject: Invalid value: {kind:?}: an attribute of this type is not known; {TYPES}"
        )
    };
    check(&json!({"literalSubject": "E=a,CN=web,X=b,E=c"}), &[&unknown("E"), &unknown("X")]);
    let many: Vec<String> = (0..20).map(|number| format!("X{number}=a")).collect();
    let told: Vec<String> = (0..10).map(|number| unknown(&format!("X{number}"))).collect();
    let told: Vec<&str> = told.iter().map(String::as_str).collect();
    check(&json!({"literalSubject": many.join(",")}), &told);
    check(&json!({"literalSubject": "cn=web,o=Example,1.2.3.4=x,uid=1,dc=a"}), &[]);
}

#[test]
fn a_certificate_for_nobody_is_refused() {
    let refused = "C11 spec: Invalid value: \"\": the certificate would be for nobody; set at least one of dnsNames, ipAddresses, uris, emailAddresses, otherNames, commonName or a literalSubject with CN";
    check(&json!({"dnsNames": null}), &[refused]);
    check(&json!({"dnsNames": [], "commonName": "", "subject": {"organizations": ["a"]}}), &[refused]);
    check(&json!({"dnsNames": null, "literalSubject": "O=Example"}), &[refused]);
    check(&json!({"dnsNames": null, "literalSubject": "CN="}), &[refused]);
    for named in [
        json!({"dnsNames": null, "commonName": "web"}),
        json!({"dnsNames": null, "literalSubject": "CN=web"}),
        json!({"dnsNames": null, "ipAddresses": ["192.0.2.1"]}),
        json!({"dnsNames": null, "uris": ["spiffe://td/web"]}),
        json!({"dnsNames": null, "emailAddresses": ["a@a.test"]}),
        json!({"dnsNames": null, "otherNames": [{"oid": "1.3.6.1.4.1.311.20.2.3", "utf8Value": "a@a.test"}]}),
    ] {
        check(&named, &[]);
    }
}

#[test]
fn a_common_name_of_more_than_64_bytes_is_refused() {
    let refused = |bytes: usize| {
        format!(
            "C12 spec.commonName: Too long: the common name has {bytes} bytes; keep at most 64, and put long host names into spec.dnsNames alone"
        )
    };
    check(&json!({"commonName": "a".repeat(65)}), &[&refused(65)]);
    check(&json!({"commonName": "ü".repeat(33)}), &[&refused(66)]);
    check(&json!({"literalSubject": format!("O=a,CN={}", "a".repeat(65))}), &[&refused(65)]);
    check(&json!({"commonName": "a".repeat(64)}), &[]);
    check(&json!({"literalSubject": format!("CN={}", "a".repeat(64))}), &[]);
}

#[test]
fn a_country_is_a_code_of_two_letters() {
    check(
        &json!({"subject": {"countries": ["DE", "Germany"]}}),
        &[
            "B08 spec.subject.countries[1]: Invalid value: \"Germany\": not a code of two letters; write the code of ISO 3166, such as \"DE\"",
        ],
    );
    let literal = "B08 spec.literalSubject: Invalid value: \"D1\": the country is not a code of two letters; write the code of ISO 3166, such as \"DE\"";
    check(&json!({"literalSubject": "CN=web,c=D1"}), &[literal]);
    check(&json!({"literalSubject": "CN=web,2.5.4.6=D1"}), &[literal]);
    check(&json!({"literalSubject": "CN=web,C=de"}), &[]);
    check(&json!({"subject": {"countries": ["DE", "us"]}}), &[]);
}

#[test]
fn attributes_beyond_the_bounds_of_the_standard_are_warned_of() {
    warns(
        &json!({"subject": {"organizations": ["a".repeat(65)], "localities": ["ü".repeat(128), ""],
                            "serialNumber": "1".repeat(65)}}),
        &[
            "B08-W spec.subject.organizations[0]: Too long: clients may refuse it; keep at most 64 characters",
            "B08-W spec.subject.localities[1]: Invalid value: \"\": an empty attribute is not valid in X.520; leave it out",
            "B08-W spec.subject.serialNumber: Too long: clients may refuse it; keep at most 64 characters",
        ],
    );
    warns(
        &json!({"literalSubject": format!("CN=a,CN=b,OU={}", "a".repeat(65))}),
        &[
            "B08-W spec.literalSubject: Invalid value: more than one CN, of which clients look at one; keep one",
            "B08-W spec.literalSubject: Too long: clients may refuse such a long OU; keep at most 64 characters",
        ],
    );
    let quoted =
        "B08-W spec.literalSubject: Invalid value: the quotes become a part of the value; leave them out";
    warns(&json!({"literalSubject": "CN=\"web\",O=\"a\""}), &[quoted]);
    warns(&json!({"literalSubject": "CN=the \"web\" of,O=\""}), &[]);
    warns(&json!({"subject": {"organizations": ["ü".repeat(64)], "postalCodes": ["1".repeat(40)]}}), &[]);
}
