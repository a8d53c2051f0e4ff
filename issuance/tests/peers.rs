//! Every kind of certificate that we issue, verified by OpenSSL, Go and rustls' webpki, and linted by zlint with the
//! lints that come from standards. The Go program `e2e/interop` asks the first two and the linter; it is built here
//! unless `SIGNET_INTEROP` names it.

#![allow(clippy::unwrap_used, reason = "a test may panic, and its helpers are tests too")]
#![allow(clippy::disallowed_methods, reason = "the judge reads files; only the crate itself does no IO")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use issuance::authority::{Authority, Issued, Terms, self_sign};
use issuance::certificate::Certificate;
use issuance::chain::Chain;
use issuance::constraint::{IpRange, NameConstraints, Subtrees};
use issuance::credential::{Credential, Pending};
use issuance::key::{Curve, KeyAlgorithm, KeyEncoding, PrivateKey, RsaSize};
use issuance::name::{LiteralSubject, Subject, SubjectAltName};
use issuance::request::{Request, RequestSpec};
use issuance::secret::SecretBytes;
use issuance::signature::SignatureAlgorithm;
use issuance::temporary::Temporary;
use issuance::usage::Usages;
use jiff::{SignedDuration, Timestamp};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use serde::{Deserialize, Serialize};

const KINDS: [KeyAlgorithm; 8] = [
    KeyAlgorithm::Rsa(RsaSize::Bits2048),
    KeyAlgorithm::Rsa(RsaSize::Bits3072),
    KeyAlgorithm::Rsa(RsaSize::Bits4096),
    KeyAlgorithm::Rsa(RsaSize::Bits8192),
    KeyAlgorithm::Ecdsa(Curve::P256),
    KeyAlgorithm::Ecdsa(Curve::P384),
    KeyAlgorithm::Ecdsa(Curve::P521),
    KeyAlgorithm::Ed25519,
];

/// The moment of issue; the judges look a second later.
const NOW: i64 = 1_800_000_000;

/// Findings of zlint that we let stand: the lint, the certificates that it may be about (a part of their names; all
/// when empty), and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("e_ecdsa_allowed_ku", "default usages", DEFAULT_USAGES),
    ("n_ecdsa_ee_invalid_ku", "default usages", DEFAULT_USAGES),
    ("e_rsa_allowed_ku_no_encipherment_ca", "default usages", DEFAULT_USAGES),
];

const DEFAULT_USAGES: &str = "a Certificate without usages means digital signature and key encipherment in the API, \
    whatever its key is and whether it is a CA; a certificate with other usages than asked for would be refused";

/// What the judge is told about a certificate.
#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    name: String,
    chain: String,
    roots: String,
    at: i64,
    dns_names: Vec<String>,
    ips: Vec<String>,
    not_names: Vec<String>,
}

/// What it says. A text is empty where a peer has no objection.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Judgement {
    name: String,
    #[serde(default)]
    go: String,
    #[serde(default)]
    openssl: String,
    #[serde(default)]
    lints: Vec<String>,
}

/// What is asked for in one row of the matrix.
struct Shape {
    name: &'static str,
    spec: RequestSpec,
    terms: Terms,
}

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

/// RSA keys that take up to a minute to make, for CAs and for leaves.
const RECORDED: [(RsaSize, [&str; 2]); 2] = [
    (
        RsaSize::Bits4096,
        [include_str!("data/keys/ca-rsa-4096.pem"), include_str!("data/keys/leaf-rsa-4096.pem")],
    ),
    (
        RsaSize::Bits8192,
        [include_str!("data/keys/ca-rsa-8192.pem"), include_str!("data/keys/leaf-rsa-8192.pem")],
    ),
];

/// One key of each kind in PEM.
struct Keys(BTreeMap<String, Vec<u8>>);

impl Keys {
    /// For CAs and for leaves.
    fn pair() -> [Self; 2] {
        [0, 1].map(|number| {
            let key = |kind: &KeyAlgorithm| {
                let recorded = RECORDED.iter().find(|(size, _)| *kind == KeyAlgorithm::Rsa(*size));
                recorded.map_or_else(|| generate(*kind), |(_, keys)| keys[number].as_bytes().to_vec())
            };
            Self(KINDS.iter().map(|kind| (kind.to_string(), key(kind))).collect())
        })
    }

    fn get(&self, kind: KeyAlgorithm) -> PrivateKey {
        let key = PrivateKey::from_pem(self.0.get(&kind.to_string()).unwrap()).unwrap();
        assert_eq!(key.algorithm(), kind);
        key
    }
}

fn generate(kind: KeyAlgorithm) -> Vec<u8> {
    PrivateKey::generate(kind).unwrap().to_pem(KeyEncoding::Pkcs8).expose().to_vec()
}

fn spec(common_name: Option<&str>, names: &[SubjectAltName]) -> RequestSpec {
    RequestSpec {
        subject: Subject { common_name: common_name.map(str::to_owned), ..Subject::default() }.into(),
        names: names.to_vec(),
        usages: server(),
        encode_usages: true,
        ..RequestSpec::default()
    }
}

fn hour() -> Terms {
    Terms { duration: SignedDuration::from_hours(1), usages: server(), ..Terms::default() }
}

/// What a TLS server needs with any kind of key; key encipherment would be for RSA alone.
fn server() -> Usages {
    Usages::parse(["digital signature", "server auth"]).unwrap()
}

fn ca() -> Usages {
    Usages::parse(["cert sign", "crl sign"]).unwrap()
}

fn dns(name: &str) -> SubjectAltName {
    SubjectAltName::Dns(name.to_owned())
}

/// The rows: what users ask for, from the least to the most.
fn shapes() -> Vec<Shape> {
    let every_name = [
        dns("a.test"),
        dns("*.wild.test"),
        SubjectAltName::Email("a@a.test".to_owned()),
        SubjectAltName::Ip("192.0.2.1".parse().unwrap()),
        SubjectAltName::Ip("2001:db8::1".parse().unwrap()),
        SubjectAltName::Uri("spiffe://td.test/ns/a/sa/b".to_owned()),
    ];
    let subject = Subject {
        countries: vec!["DE".to_owned()],
        organizations: vec!["Beta".to_owned(), "Alpha".to_owned()],
        organizational_units: vec!["unit".to_owned()],
        localities: vec!["Berlin".to_owned()],
        provinces: vec!["BE".to_owned()],
        street_addresses: vec!["Street 1".to_owned()],
        postal_codes: vec!["10115".to_owned()],
        serial_number: Some("7".to_owned()),
        ..Subject::common_name("a.test")
    };
    let literal: LiteralSubject = "CN=a.test,OU=Shop+OU=Web,O=M\\C3\\BCller,DC=a,DC=test".parse().unwrap();
    let mutual = Usages::parse(["digital signature", "server auth", "client auth"]).unwrap();
    let shape = |name, spec, terms| Shape { name, spec, terms };
    vec![
        shape("plain", spec(Some("a.test"), &[dns("a.test")]), hour()),
        shape(
            "default usages",
            RequestSpec { usages: Usages::default(), ..spec(None, &[dns("a.test")]) },
            Terms { usages: Usages::default(), ..hour() },
        ),
        shape("empty subject", spec(None, &[dns("a.test")]), hour()),
        shape("every name", spec(None, &every_name), hour()),
        shape("other name", spec(None, &[dns("a.test"), user_principal_name()]), hour()),
        shape("other name alone", spec(Some("a"), &[user_principal_name()]), hour()),
        shape(
            "literal subject",
            RequestSpec { subject: literal.into(), ..spec(None, &[dns("a.test")]) },
            hour(),
        ),
        shape(
            "every attribute",
            RequestSpec { subject: subject.into(), ..spec(None, &[dns("a.test")]) },
            hour(),
        ),
        shape(
            "mutual",
            RequestSpec { usages: mutual.clone(), ..spec(None, &[dns("a.test")]) },
            Terms { usages: mutual, ..hour() },
        ),
        shape(
            "issuer's addresses",
            spec(None, &[dns("a.test")]),
            Terms {
                crl_distribution_points: vec!["http://crl.test/a.crl".to_owned()],
                ocsp_servers: vec!["http://ocsp.test".to_owned()],
                issuing_certificate_urls: vec!["http://ca.test/ca.der".to_owned()],
                ..hour()
            },
        ),
        shape("many names", spec(None, &many_names()), hour()),
        shape(
            "short",
            spec(None, &[dns("a.test")]),
            Terms { duration: SignedDuration::from_secs(10), ..hour() },
        ),
    ]
}

/// A user principal name, as Active Directory has it.
fn user_principal_name() -> SubjectAltName {
    SubjectAltName::OtherName { type_id: "1.3.6.1.4.1.311.20.2.3".to_owned(), value: "a@a.test".to_owned() }
}

fn many_names() -> Vec<SubjectAltName> {
    (0..200).map(|number| dns(&format!("host-{number}.a.test"))).chain([dns("a.test")]).collect()
}

/// Everything that was issued, on its way to the judges.
struct Docket {
    folder: tempfile::TempDir,
    manifest: Vec<Manifest>,
}

impl Docket {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), manifest: Vec::new() }
    }

    /// Adds a chain with what it is to be trusted by, after webpki has had its say.
    fn add(&mut self, name: String, issued: &Issued, roots: &str) {
        let leaf = issued.chain.leaf();
        if !leaf.is_ca() {
            let (hosts, ips) = asked(leaf);
            ask_webpki(&name, issued, roots, hosts.iter().chain(&ips).map(String::as_str));
        }
        self.record(name, &issued.chain, roots);
    }

    /// Adds a chain with what it is to be trusted by.
    fn record(&mut self, name: String, chain: &Chain, roots: &str) {
        let (dns_names, ips) = asked(chain.leaf());
        let number = self.manifest.len();
        let (presented, trusted) = (format!("{number}-chain.pem"), format!("{number}-roots.pem"));
        fs::write(self.folder.path().join(&presented), chain.to_pem()).unwrap();
        fs::write(self.folder.path().join(&trusted), roots).unwrap();
        self.manifest.push(Manifest {
            name,
            chain: presented,
            roots: trusted,
            at: NOW + 1,
            dns_names,
            ips,
            not_names: vec!["stranger.test".to_owned()],
        });
    }

    fn judge(&self) -> Vec<Judgement> {
        let path = self.folder.path().join("manifest.json");
        fs::write(&path, serde_json::to_vec(&self.manifest).unwrap()).unwrap();
        let judgements: Vec<Judgement> = serde_json::from_slice(&interop("judge", path.as_os_str())).unwrap();
        let names = |judgement: &Judgement| judgement.name.clone();
        let judged: Vec<String> = judgements.iter().map(names).collect();
        assert_eq!(judged, self.manifest.iter().map(|one| one.name.clone()).collect::<Vec<_>>());
        judgements
    }
}

/// The names that the judges ask for: DNS names, of which the first few of many are enough, and addresses.
fn asked(leaf: &Certificate) -> (Vec<String>, Vec<String>) {
    // A pattern is not a name that anybody dials.
    let is_host =
        |name: &&SubjectAltName| matches!(name, SubjectAltName::Dns(host) if !host.starts_with('*'));
    let is_address = |name: &&SubjectAltName| matches!(name, SubjectAltName::Ip(_));
    let hosts = leaf.names().iter().filter(is_host).take(2).map(plain).collect();
    (hosts, leaf.names().iter().filter(is_address).map(plain).collect())
}

fn plain(name: &SubjectAltName) -> String {
    match name {
        SubjectAltName::Dns(name) => name.clone(),
        SubjectAltName::Ip(address) => address.to_string(),
        other => other.to_string(),
    }
}

fn ask_webpki<'a>(title: &str, issued: &Issued, roots: &str, names: impl Iterator<Item = &'a str>) {
    let der = |certificate: &Certificate| CertificateDer::from(certificate.der().to_vec());
    let mut store = RootCertStore::empty();
    for root in issuance::pem::certificates(roots.as_bytes(), issuance::pem::Limit::CHAIN).unwrap() {
        store.add(der(&root)).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider).build().unwrap();
    let above: Vec<CertificateDer<'_>> = issued.chain.certificates().iter().skip(1).map(der).collect();
    let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(NOW + 1).unwrap()));
    let leaf = der(issued.chain.leaf());
    for name in names {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let verdict = verifier.verify_server_cert(&leaf, &above, &name, &[], at);
        assert!(verdict.is_ok(), "{title}: webpki on {name:?}: {verdict:?}");
    }
    let stranger = ServerName::try_from("stranger.test").unwrap();
    assert!(verifier.verify_server_cert(&leaf, &above, &stranger, &[], at).is_err(), "{title}");
}

/// Runs the Go program and returns what it prints.
fn interop(command: &str, argument: &OsStr) -> Vec<u8> {
    let output = Command::new(interop_program()).arg(command).arg(argument).output().unwrap();
    assert!(output.status.success(), "interop {command}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The program that `SIGNET_INTEROP` names, else one built once in this run; Go's cache makes the next run quick.
fn interop_program() -> &'static Path {
    static PROGRAM: LazyLock<PathBuf> =
        LazyLock::new(|| std::env::var_os("SIGNET_INTEROP").map_or_else(build_interop, PathBuf::from));
    &PROGRAM
}

fn build_interop() -> PathBuf {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interop");
    let built = Command::new("go")
        .args(["build", "-trimpath", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../e2e/interop"))
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-buildvcs=false -mod=readonly")
        .status()
        .expect("Go 1.26 or newer is needed (https://go.dev/dl) for the peers that judge what we issue");
    assert!(built.success(), "`go build` failed in e2e/interop; its messages are above");
    program
}

/// Issues the whole matrix.
fn docket() -> Docket {
    let [ca_keys, leaf_keys] = Keys::pair();
    let mut docket = Docket::new();
    for ca_kind in KINDS {
        let day = SignedDuration::from_hours(24);
        let root = Authority::self_signed("root", ca_keys.get(ca_kind), day, now()).unwrap();
        let trusted = root.certificate().to_pem();
        for shape in shapes() {
            // The whole product of kinds for one shape; for the others each kind of leaf meets one kind of CA.
            let all = shape.name == "plain";
            for kind in KINDS.into_iter().filter(|kind| all || *kind == ca_kind) {
                let request = Request::build(&shape.spec, &leaf_keys.get(kind)).unwrap();
                let issued = root.sign(&request, &shape.terms, now()).unwrap();
                docket.add(format!("{}, {kind} by {ca_kind}", shape.name), &issued, &trusted);
            }
        }
        add_intermediates(&mut docket, &root, &ca_keys, &leaf_keys, ca_kind);
    }
    add_self_signed(&mut docket, &leaf_keys);
    add_other_digest(&mut docket, &leaf_keys);
    docket
}

/// A CA of OpenSSL's and a request, both with a digest that is not the usual one of their P-521 keys.
fn add_other_digest(docket: &mut Docket, leaf_keys: &Keys) {
    let kind = KeyAlgorithm::Ecdsa(Curve::P521);
    let trusted = include_str!("data/keys/ca-p521-sha256.crt.pem");
    let key = include_bytes!("data/keys/ca-p521.pem");
    let root = Authority::from_pem(trusted.as_bytes(), key, None).unwrap();
    let signature_algorithm = Some(SignatureAlgorithm::EcdsaSha256);
    let asked = RequestSpec { signature_algorithm, ..spec(None, &[dns("a.test")]) };
    let request = Request::build(&asked, &leaf_keys.get(kind)).unwrap();
    assert_eq!(request.signature_algorithm(), SignatureAlgorithm::EcdsaSha256);
    let issued = root.sign(&request, &hour(), now()).unwrap();
    docket.add(format!("other digest, {kind}"), &issued, trusted);
}

/// What `openssl req -new` makes with this key, in PEM.
fn openssl_req(key: &SecretBytes, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    fs::write(&path, key.expose()).unwrap();
    let mut command = Command::new("openssl");
    command.args(["req", "-new", "-batch", "-key"]).arg(&path).args(arguments);
    let made = command.output().expect("OpenSSL 3 is needed (Debian: openssl)");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap()
}

/// Nobody can trust temporary certificates, whoever else is trusted; their form is as good as that of others.
#[test]
fn temporary_certificates_are_trusted_by_nobody_and_linted() {
    let mut docket = Docket::new();
    let [_, keys] = Keys::pair();
    for kind in KINDS {
        let trusted = Authority::self_signed(
            "cert-manager.local",
            PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap(),
            SignedDuration::from_hours(1),
            now(),
        )
        .unwrap();
        let request = Request::build(&spec(Some("a.test"), &[dns("a.test")]), &keys.get(kind)).unwrap();
        let chain = Temporary::sign(&request, &hour(), now()).unwrap().chain().clone();
        docket.record(format!("temporary, {kind}"), &chain, &trusted.certificate().to_pem());
    }
    for judgement in docket.judge() {
        let Judgement { name, go, openssl, lints } = judgement;
        assert!(go.contains("unknown authority"), "{name}: Go: {go:?}");
        assert!(openssl.contains("unable to get local issuer certificate"), "{name}: OpenSSL: {openssl:?}");
        assert_eq!(lints, Vec::<String>::new(), "{name}");
    }
}

/// CAs below the root, without and with name constraints and a path length, and a leaf below each.
fn add_intermediates(
    docket: &mut Docket,
    root: &Authority,
    ca_keys: &Keys,
    leaf_keys: &Keys,
    kind: KeyAlgorithm,
) {
    let trusted = root.certificate().to_pem();
    let permitted = Subtrees {
        dns_domains: vec!["a.test".to_owned()],
        ip_ranges: vec![IpRange::new("192.0.2.0".parse().unwrap(), 24).unwrap()],
        email_addresses: vec!["a.test".to_owned()],
        uri_domains: vec!["a.test".to_owned()],
        ..Subtrees::default()
    };
    let excluded = Subtrees { dns_domains: vec!["b.a.test".to_owned()], ..Subtrees::default() };
    let constraints = NameConstraints { critical: true, permitted, excluded };
    for (title, name_constraints) in [("intermediate", None), ("constrained", Some(constraints))] {
        let subject = Subject::common_name(title);
        let asked = RequestSpec {
            is_ca: true,
            subject: subject.into(),
            usages: ca(),
            name_constraints,
            ..spec(None, &[])
        };
        let pending = Credential::<Pending>::new(ca_keys.get(kind), &asked).unwrap();
        let issued = root.sign(pending.request(), &ca_terms(), now()).unwrap();
        let key = pending.key().to_pem(KeyEncoding::Pkcs8);
        add_with_leaf(docket, title, &issued, &key, &trusted, &leaf_keys.get(kind));
    }
    // Only foreign requests ask for a path length.
    let key = ca_keys.get(kind).to_pem(KeyEncoding::Pkcs8);
    let path_len = "basicConstraints=critical,CA:TRUE,pathlen:0";
    let text = openssl_req(&key, &["-subj", "/CN=short", "-addext", path_len]);
    let request = Request::from_pem(text.as_bytes()).unwrap();
    let issued = root.sign(&request, &ca_terms(), now()).unwrap();
    assert_eq!(issued.chain.leaf().path_len(), Some(0));
    add_with_leaf(docket, "path length", &issued, &key, &trusted, &leaf_keys.get(kind));
}

/// A CA below the root, and a leaf below it.
fn add_with_leaf(
    docket: &mut Docket,
    title: &str,
    issued: &Issued,
    key: &SecretBytes,
    trusted: &str,
    leaf_key: &PrivateKey,
) {
    let kind = leaf_key.algorithm();
    docket.add(format!("{title}, {kind}"), issued, trusted);
    let chain = issued.chain.to_pem();
    let authority = Authority::from_pem(chain.as_bytes(), key.expose(), Some(trusted.as_bytes())).unwrap();
    let names = [dns("a.test"), SubjectAltName::Ip("192.0.2.1".parse().unwrap())];
    let request = Request::build(&spec(None, &names), leaf_key).unwrap();
    let issued = authority.sign(&request, &hour(), now()).unwrap();
    assert_eq!(issued.chain.certificates().len(), 2);
    docket.add(format!("below {title}, {kind}"), &issued, trusted);
}

fn ca_terms() -> Terms {
    Terms { is_ca: true, duration: SignedDuration::from_hours(12), usages: ca(), ..Terms::default() }
}

fn add_self_signed(docket: &mut Docket, keys: &Keys) {
    for kind in KINDS {
        let key = keys.get(kind);
        let request = Request::build(&spec(Some("a.test"), &[dns("a.test")]), &key).unwrap();
        let issued = self_sign(&request, &key, &hour(), now()).unwrap();
        let trusted = issued.chain.to_pem();
        docket.add(format!("self-signed, {kind}"), &issued, &trusted);
        for (title, usages) in
            [("self-signed CA", ca()), ("self-signed CA, default usages", Usages::default())]
        {
            let spec = RequestSpec { is_ca: true, usages: usages.clone(), ..spec(Some("self"), &[]) };
            let request = Request::build(&spec, &key).unwrap();
            let issued = self_sign(&request, &key, &Terms { is_ca: true, usages, ..hour() }, now()).unwrap();
            let trusted = issued.chain.to_pem();
            docket.add(format!("{title}, {kind}"), &issued, &trusted);
        }
    }
}

#[test]
fn openssl_go_webpki_and_zlint_accept_what_we_issue() {
    let judgements = docket().judge();
    assert!(judgements.len() > 100, "only {} certificates", judgements.len());
    let mut complaints = Vec::new();
    let mut unused: Vec<_> = EXCEPTIONS.iter().collect();
    for judgement in &judgements {
        let name = &judgement.name;
        for (peer, objection) in [("Go", &judgement.go), ("OpenSSL", &judgement.openssl)] {
            if !objection.is_empty() {
                complaints.push(format!("{name}: {peer}: {objection}"));
            }
        }
        for finding in &judgement.lints {
            let excepts =
                |(lint, about, _): &(&str, &str, &str)| finding.starts_with(lint) && name.contains(about);
            if EXCEPTIONS.iter().any(excepts) {
                unused.retain(|exception| !excepts(exception));
            } else {
                complaints.push(format!("{name}: zlint: {finding}"));
            }
        }
    }
    complaints
        .extend(unused.iter().map(|(lint, about, _)| format!("exception {lint} ({about:?}) is not needed")));
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

#[test]
fn go_still_says_what_the_corpus_records() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let go = |text: &[u8]| -> Vec<serde_json::Value> {
        let cases: Vec<serde_json::Value> = serde_json::from_slice(text).unwrap();
        // Error texts depend on the version.
        cases
            .iter()
            .map(|case| serde_json::json!([case["name"], case["go"]["accepted"], case["values"]]))
            .collect()
    };
    let recorded = go(&fs::read(folder.join("verdicts.json")).unwrap());
    let now = go(&interop("verdicts", folder.as_os_str()));
    for (recorded, now) in recorded.iter().zip(&now) {
        assert_eq!(recorded, now);
    }
    assert_eq!(recorded.len(), now.len());
}
