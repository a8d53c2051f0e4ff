//! Rules of Certificates in CEL.

use super::{Expression, Policy, computed, text};
use crate::rule::Kind;

pub(super) static POLICY: Policy = Policy {
    name: "certificates",
    kinds: &[Kind::Certificate],
    resources: &["certificates"],
    variables: VARIABLES,
    expressions: EXPRESSIONS,
};

const VARIABLES: &[(&str, &str)] = &[
    ("secretName", "object.?spec.?secretName.orValue('')"),
    ("issuerKind", "object.?spec.?issuerRef.?kind.orValue('')"),
    ("issuerGroup", "object.?spec.?issuerRef.?group.orValue('')"),
    ("commonName", "object.?spec.?commonName.orValue('')"),
    ("literalSubject", "object.?spec.?literalSubject.orValue('')"),
    ("ipAddresses", "object.?spec.?ipAddresses.orValue([])"),
    ("otherNames", "object.?spec.?otherNames.orValue([])"),
    ("algorithm", "object.?spec.?privateKey.?algorithm.orValue('')"),
    ("keySize", "object.?spec.?privateKey.?size.orValue(0)"),
    ("signature", "object.?spec.?signatureAlgorithm.orValue('')"),
    // None or one: what is absent has its default, and what cannot be read is left to the webhook.
    (
        "lifetime",
        r"[object.?spec.?duration.orValue('2160h')].filter(text, text.matches('^[-+]?(([0-9]+(\\.[0-9]*)?|\\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$')).map(text, duration(text))",
    ),
    (
        "renewBefore",
        r"[object.?spec.?renewBefore.orValue('')].filter(text, text.matches('^[-+]?(([0-9]+(\\.[0-9]*)?|\\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$')).map(text, duration(text))",
    ),
    ("labels", "object.?spec.?secretTemplate.?labels.orValue({})"),
    ("annotations", "object.?spec.?secretTemplate.?annotations.orValue({})"),
    ("formats", "object.?spec.?additionalOutputFormats.orValue([])"),
    // Without what CEL's parsers refuse and the webhook's accept: IPv4 addresses written as IPv6, and, in ranges below,
    // leading zeros.
    (
        "wrongAddresses",
        r"variables.ipAddresses.filter(address, !isIP(address) && !address.matches('^[0:]*:[fF]{4}:[0-9a-fA-F.:]+$'))",
    ),
    (
        "wrongRanges",
        r"(object.?spec.?nameConstraints.?permitted.?ipRanges.orValue([]) + object.?spec.?nameConstraints.?excluded.?ipRanges.orValue([])).filter(range, !isCIDR(range) && !range.matches('^[0:]*:[fF]{4}:[0-9a-fA-F.:]+/[0-9]+$|/0[0-9]+$'))",
    ),
    (
        "wrongLabels",
        r"variables.labels.map(key, key).filter(key, key.indexOf('/') > 253 || !key.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",
    ),
    (
        "wrongLabelValues",
        r"variables.labels.map(key, variables.labels[key]).filter(value, !value.matches('^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$'))",
    ),
    (
        "reservedAnnotations",
        r"variables.annotations.map(key, key).filter(key, key.startsWith('cert-manager.io/') && key != 'cert-manager.io/allow-direct-injection')",
    ),
    (
        "wrongAnnotations",
        r"variables.annotations.map(key, key).filter(key, key.indexOf('/') > 253 || !key.lowerAscii().matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[a-z0-9]([-a-z0-9_.]{0,61}[a-z0-9])?$'))",
    ),
];

const EXPRESSIONS: &[Expression] = &[
    text(
        "C01",
        "variables.secretName != ''",
        "spec.secretName: Required value: name the Secret that is to receive key and certificate",
    ),
    computed(
        "C02",
        r"variables.secretName == '' || size(variables.secretName) <= 253 && variables.secretName.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
        r#"'spec.secretName: Invalid value: "' + variables.secretName + '": not a name that Kubernetes accepts: write at most 253 lower-case letters, digits, - and ., beginning and ending with a letter or digit'"#,
    ),
    text(
        "C03",
        "object.?spec.?issuerRef.?name.orValue('') != ''",
        "spec.issuerRef.name: Required value: name the Issuer or ClusterIssuer that is to sign",
    ),
    computed(
        "C04",
        "!(variables.issuerGroup in ['', 'cert-manager.io']) || variables.issuerKind in ['', 'Issuer', 'ClusterIssuer']",
        r#"'spec.issuerRef.kind: Invalid value: "' + variables.issuerKind + '": write Issuer or ClusterIssuer, or the group of this kind into spec.issuerRef.group'"#,
    ),
    text(
        "C06",
        "variables.literalSubject == '' || variables.commonName == ''",
        "spec.commonName: Invalid value: spec.literalSubject is the whole subject; write the common name there as CN=..., and leave this out",
    ),
    text(
        "C07",
        "variables.literalSubject == '' || !(object.spec.?subject.?serialNumber.orValue('') != '' \
         || size(object.spec.?subject.?organizations.orValue([])) > 0 \
         || size(object.spec.?subject.?countries.orValue([])) > 0 \
         || size(object.spec.?subject.?organizationalUnits.orValue([])) > 0 \
         || size(object.spec.?subject.?localities.orValue([])) > 0 \
         || size(object.spec.?subject.?provinces.orValue([])) > 0 \
         || size(object.spec.?subject.?streetAddresses.orValue([])) > 0 \
         || size(object.spec.?subject.?postalCodes.orValue([])) > 0)",
        "spec.subject: Invalid value: spec.literalSubject is the whole subject; write these attributes there, and leave them out here",
    ),
    text(
        "C11",
        "variables.literalSubject != '' || variables.commonName != '' || size(variables.ipAddresses) > 0 \
         || size(object.?spec.?dnsNames.orValue([])) > 0 || size(object.?spec.?uris.orValue([])) > 0 \
         || size(object.?spec.?emailAddresses.orValue([])) > 0 || size(variables.otherNames) > 0",
        "spec: Invalid value: the certificate would be for nobody; set at least one of dnsNames, ipAddresses, uris, emailAddresses, otherNames, commonName or a literalSubject with CN",
    ),
    text(
        "C12",
        "size(bytes(variables.commonName)) <= 64",
        "spec.commonName: Too long: keep at most 64 bytes, and put long host names into spec.dnsNames alone",
    ),
    computed(
        "C13",
        "size(variables.wrongAddresses) == 0",
        r#"'spec.ipAddresses[]: Invalid value: "' + variables.wrongAddresses[0] + '": not an IP address; write an address such as "192.0.2.1" or "2001:db8::1"'"#,
    ),
    text(
        "C17",
        "variables.otherNames.all(name, name.?oid.orValue('') != '')",
        "spec.otherNames[].oid: Required value: write the object identifier of the name's type",
    ),
    text(
        "C18",
        r"variables.otherNames.all(name, name.?oid.orValue('') == '' || name.oid.matches('^[-+]?[0-9]+(\\.[-+]?[0-9]+)*$'))",
        "spec.otherNames[].oid: Invalid value: write numbers with dots between them",
    ),
    text(
        "C19",
        "variables.otherNames.all(name, name.?utf8Value.orValue('') != '')",
        "spec.otherNames[].utf8Value: Required value: write the name as text",
    ),
    computed(
        "C20",
        "!(variables.algorithm in ['', 'RSA']) || variables.keySize <= 0 || variables.keySize >= 2048 && variables.keySize <= 8192",
        "'spec.privateKey.size: Invalid value: ' + string(variables.keySize) + ': RSA keys have 2048 to 8192 bits; write 2048, 3072, 4096 or 8192'",
    ),
    computed(
        "C21",
        "variables.algorithm != 'ECDSA' || variables.keySize <= 0 || variables.keySize in [256, 384, 521]",
        "'spec.privateKey.size: Unsupported value: ' + string(variables.keySize) + ': write 256, 384 or 521'",
    ),
    computed(
        "C23",
        "variables.signature == '' \
         || variables.algorithm in ['', 'RSA'] && variables.signature in ['SHA256WithRSA', 'SHA384WithRSA', 'SHA512WithRSA'] \
         || variables.algorithm == 'ECDSA' && variables.signature in ['ECDSAWithSHA256', 'ECDSAWithSHA384', 'ECDSAWithSHA512'] \
         || variables.algorithm == 'Ed25519' && variables.signature == 'PureEd25519'",
        r#"'spec.signatureAlgorithm: Invalid value: "' + variables.signature + '": write one of the key, or change spec.privateKey.algorithm'"#,
    ),
    text(
        "C24",
        "variables.lifetime.all(lifetime, lifetime >= duration('1h'))",
        "spec.duration: Invalid value: write at least \"1h\"",
    ),
    text(
        "C25",
        "!has(object.spec) || !has(object.spec.renewBefore) || !has(object.spec.renewBeforePercentage)",
        "spec.renewBefore: Invalid value: renewBeforePercentage is set too; remove one",
    ),
    text(
        "C26",
        "variables.renewBefore.all(before, before >= duration('5m'))",
        "spec.renewBefore: Invalid value: write at least \"5m\"",
    ),
    text(
        "C27",
        "variables.lifetime.all(lifetime, variables.renewBefore.all(before, before < lifetime))",
        "spec.renewBefore: Invalid value: must be shorter than spec.duration, which is \"2160h\" where it is absent",
    ),
    text(
        "C29",
        "!has(object.spec) || !has(object.spec.renewBeforePercentage) || !has(object.spec.duration) && !has(object.spec.renewBefore) \
         || object.spec.renewBeforePercentage >= 1 && object.spec.renewBeforePercentage <= 99",
        "spec.renewBeforePercentage: Invalid value: not a share of the lifetime that is left at renewal; write 1 to 99; 33 renews after two thirds",
    ),
    text(
        "C31",
        "object.?spec.?revisionHistoryLimit.orValue(1) >= 1",
        "spec.revisionHistoryLimit: Invalid value: write 1 or more",
    ),
    computed(
        "C32",
        "size(variables.wrongLabels) == 0",
        r#"'spec.secretTemplate.labels: Invalid value: "' + variables.wrongLabels[0] + '": not a key that Kubernetes accepts; write a key such as "app" or "example.com/app"'"#,
    ),
    computed(
        "C33",
        "size(variables.wrongLabelValues) == 0",
        r#"'spec.secretTemplate.labels: Invalid value: "' + variables.wrongLabelValues[0] + '": not a value that Kubernetes accepts; write at most 63 letters, digits, -, _ and ., beginning and ending with a letter or digit'"#,
    ),
    computed(
        "C34",
        "size(variables.reservedAnnotations) == 0",
        r#"'spec.secretTemplate.annotations: Invalid value: "' + variables.reservedAnnotations[0] + '": the prefix cert-manager.io/ is reserved; leave it out'"#,
    ),
    computed(
        "C35",
        "size(variables.wrongAnnotations) == 0",
        r#"'spec.secretTemplate.annotations: Invalid value: "' + variables.wrongAnnotations[0] + '": not a key that Kubernetes accepts; write a key such as "note" or "example.com/note"'"#,
    ),
    text(
        "C36",
        "variables.annotations.map(key, size(bytes(key)) + size(bytes(variables.annotations[key]))).sum() <= 262144",
        "spec.secretTemplate.annotations: Too long: keep keys and values at 262144 bytes in all",
    ),
    text(
        "C38",
        "!has(object.spec) || !has(object.spec.nameConstraints) || object.spec.?isCA.orValue(false)",
        "spec.nameConstraints: Invalid value: only a CA has them; set spec.isCA, or leave them out",
    ),
    text(
        "C39",
        "!has(object.spec) || !has(object.spec.nameConstraints) || has(object.spec.nameConstraints.permitted) || has(object.spec.nameConstraints.excluded)",
        "spec.nameConstraints: Invalid value: set permitted or excluded",
    ),
    computed(
        "C40",
        "size(variables.wrongRanges) == 0",
        r#"'spec.nameConstraints: Invalid value: "' + variables.wrongRanges[0] + '": not a range of IP addresses; write one such as "10.0.0.0/8"'"#,
    ),
    text(
        "C41",
        "['DER', 'CombinedPEM'].all(name, size(variables.formats.filter(format, format.type == name)) <= 1)",
        "spec.additionalOutputFormats[type]: Duplicate value: ask for each format once",
    ),
    text(
        "C42",
        "!has(object.spec) || !has(object.spec.keystores) || !has(object.spec.keystores.jks) || !has(object.spec.keystores.jks.password) || object.spec.keystores.jks.?passwordSecretRef.?name.orValue('') == ''",
        "spec.keystores.jks: Forbidden: both password and passwordSecretRef are set; keep passwordSecretRef, which does not show the password to readers of the Certificate",
    ),
    text(
        "C43",
        "!has(object.spec) || !has(object.spec.keystores) || !has(object.spec.keystores.jks) || has(object.spec.keystores.jks.password) || object.spec.keystores.jks.?passwordSecretRef.?name.orValue('') != ''",
        "spec.keystores.jks: Forbidden: a keystore needs a password; name a Secret in passwordSecretRef.name",
    ),
    text(
        "C44",
        "object.?spec.?keystores.?jks.?password.orValue('-') != ''",
        "spec.keystores.jks.password: Forbidden: an empty password protects nothing; name a Secret in passwordSecretRef.name instead",
    ),
    text(
        "C45",
        "!has(object.spec) || !has(object.spec.keystores) || !has(object.spec.keystores.pkcs12) || !has(object.spec.keystores.pkcs12.password) || object.spec.keystores.pkcs12.?passwordSecretRef.?name.orValue('') == ''",
        "spec.keystores.pkcs12: Forbidden: both password and passwordSecretRef are set; keep passwordSecretRef, which does not show the password to readers of the Certificate",
    ),
    text(
        "C46",
        "!has(object.spec) || !has(object.spec.keystores) || !has(object.spec.keystores.pkcs12) || has(object.spec.keystores.pkcs12.password) || object.spec.keystores.pkcs12.?passwordSecretRef.?name.orValue('') != ''",
        "spec.keystores.pkcs12: Forbidden: a keystore needs a password; name a Secret in passwordSecretRef.name",
    ),
    text(
        "C47",
        "object.?spec.?keystores.?pkcs12.?password.orValue('-') != ''",
        "spec.keystores.pkcs12.password: Forbidden: an empty password protects nothing; name a Secret in passwordSecretRef.name instead",
    ),
    text(
        "C48",
        "object.?spec.?renewal.?policy.orValue('') != 'Disabled' || size(object.spec.renewal.?windows.orValue([])) == 0",
        "spec.renewal.windows: Forbidden: renewal is disabled; remove the windows, or write the policy RenewBefore",
    ),
    text(
        "C49",
        "!has(object.spec) || !has(object.spec.renewal) || object.spec.renewal.?policy.orValue('') != ''",
        "spec.renewal.policy: Unsupported value: write RenewBefore or Disabled",
    ),
];
