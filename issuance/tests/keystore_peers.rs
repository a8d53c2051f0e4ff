//! Keystores that we write, read by Java's keytool, by OpenSSL and by Go's libraries, and theirs read by us.
//!
//! keytool, openssl and Go must be installed. The Go program `e2e/interop` is built here unless `SIGNET_INTEROP` names
//! it.

#![allow(clippy::unwrap_used, reason = "a test may panic, and its helpers are tests too")]
#![allow(clippy::disallowed_methods, reason = "the peers read files; only the crate itself does no IO")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use issuance::authority::{Authority, Issued, Terms};
use issuance::bundle::Bundle;
use issuance::certificate::Certificate;
use issuance::chain::Chain;
use issuance::key::{Curve, KeyAlgorithm, KeyEncoding, PrivateKey, RsaSize};
use issuance::keystore::pkcs12::{self, Profile};
use issuance::keystore::{KeyEntry, Limit, Password, jks};
use issuance::name::Subject;
use issuance::pem;
use issuance::request::{Request, RequestSpec};
use issuance::secret::SecretBytes;
use issuance::usage::Usages;
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

const PASSWORD: &str = "correct horse";

const RSA: KeyAlgorithm = KeyAlgorithm::Rsa(RsaSize::Bits2048);
const P256: KeyAlgorithm = KeyAlgorithm::Ecdsa(Curve::P256);
const P521: KeyAlgorithm = KeyAlgorithm::Ecdsa(Curve::P521);

/// What is written: the four profiles of PKCS#12, and JKS.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Format {
    Pkcs12(Profile),
    Jks,
}

const LEGACY_RC2: Format = Format::Pkcs12(Profile::LegacyRc2);
const LEGACY_DES: Format = Format::Pkcs12(Profile::LegacyDes);
const MODERN_2023: Format = Format::Pkcs12(Profile::Modern2023);
const MODERN_2026: Format = Format::Pkcs12(Profile::Modern2026);

impl Format {
    /// The name that keytool has for it.
    fn java(self) -> &'static str {
        match self {
            Self::Pkcs12(_) => "PKCS12",
            Self::Jks => "JKS",
        }
    }

    /// Alias of the key.
    fn alias(self) -> &'static str {
        match self {
            Self::Pkcs12(_) => pkcs12::KEY_NAME,
            Self::Jks => jks::DEFAULT_ALIAS,
        }
    }

    fn key_store(self, parts: &Parts) -> SecretBytes {
        let entry = KeyEntry { key: &parts.key, chain: &parts.chain, ca: &parts.ca };
        match self {
            Self::Pkcs12(profile) => pkcs12::key_store(profile, &entry, &password()).unwrap(),
            Self::Jks => jks::key_store("Certificate", &entry, &password(), now()).unwrap(),
        }
    }

    fn trust_store(self, parts: &Parts) -> SecretBytes {
        match self {
            Self::Pkcs12(profile) => pkcs12::trust_store(profile, &parts.ca, &password()).unwrap(),
            Self::Jks => jks::trust_store(&parts.ca, &password(), now()).unwrap(),
        }
    }
}

/// A key with a chain of leaf and intermediate, and two CAs of one name, as a rotation has them.
struct Parts {
    key: PrivateKey,
    chain: Chain,
    ca: Bundle,
}

impl Parts {
    fn new(kind: KeyAlgorithm) -> Self {
        let (root, above, key) =
            (root(), PrivateKey::generate(P256).unwrap(), PrivateKey::generate(kind).unwrap());
        let intermediate = issue(&root, "intermediate", &above, true).chain.leaf().clone();
        let above = above.to_pem(KeyEncoding::Pkcs8);
        let issuer = Authority::from_pem(intermediate.to_pem().as_bytes(), above.expose(), None).unwrap();
        let leaf = issue(&issuer, "leaf", &key, false).chain.leaf().clone();
        let ca = Bundle::of(vec![root.certificate().clone(), self::root().certificate().clone()]);
        Self { key, chain: Chain::order(vec![leaf, intermediate]).unwrap(), ca }
    }
}

fn root() -> Authority {
    let key = PrivateKey::generate(P256).unwrap();
    Authority::self_signed("root", key, SignedDuration::from_hours(24), now()).unwrap()
}

fn issue(issuer: &Authority, name: &str, key: &PrivateKey, is_ca: bool) -> Issued {
    let usages = if is_ca { Usages::default().with_cert_sign() } else { Usages::server() };
    let spec = RequestSpec { subject: Subject::common_name(name).into(), ..RequestSpec::default() };
    let terms = Terms { usages, is_ca, ..Terms::default() };
    issuer.sign(&Request::build(&spec, key).unwrap(), &terms, now()).unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn password() -> Password {
    Password::new(PASSWORD.as_bytes()).unwrap()
}

/// A folder for the files of one test.
fn folder() -> TempDir {
    TempDir::new().unwrap()
}

fn write(folder: &TempDir, name: &str, content: &SecretBytes) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, content.expose()).unwrap();
    path
}

/// What a program prints, when it succeeds.
fn run(command: &mut Command, install: &str) -> String {
    let program = command.get_program().to_string_lossy().into_owned();
    let output =
        command.output().unwrap_or_else(|error| panic!("starting {program}: {error}. Install {install}"));
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} says\n{text}{errors}");
    // Programs write keys and certificates to the one stream and remarks to the other.
    format!("{text}{errors}")
}

/// English output, and a virtual machine that starts quickly.
const JAVA: [&str; 3] = ["-J-Duser.language=en", "-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC"];

fn keytool(folder: &TempDir, arguments: &[&str]) -> String {
    let mut command = Command::new("keytool");
    command.current_dir(folder.path()).args(JAVA).args(arguments);
    run(&mut command, "a JDK of version 17 or later (Debian: openjdk-17-jdk-headless)")
}

fn openssl(folder: &TempDir, arguments: &[&str]) -> String {
    let mut command = Command::new("openssl");
    run(command.current_dir(folder.path()).args(arguments), "OpenSSL 3 (Debian: openssl)")
}

fn certificates(text: &str) -> Vec<Certificate> {
    pem::certificates(text.as_bytes(), pem::Limit::BUNDLE).unwrap()
}

/// keytool must list the key with its chain, and give the key out under its password.
fn check_java_key_store(format: Format, kind: KeyAlgorithm) {
    let folder = folder();
    let parts = Parts::new(kind);
    write(&folder, "store", &format.key_store(&parts));
    let store = ["-storetype", format.java(), "-keystore", "store", "-storepass", PASSWORD];
    let listed = keytool(&folder, &[&["-list", "-v"], &store[..]].concat());
    assert!(listed.contains(&format!("Alias name: {}\n", format.alias())), "{format:?}: {listed}");
    assert!(listed.contains("Entry type: PrivateKeyEntry\n"), "{format:?}: {listed}");
    let own = ["-list", "-rfc", "-alias", format.alias()];
    let chain = certificates(&keytool(&folder, &[&own, &store[..]].concat()));
    assert_eq!(chain[..2], *parts.chain.certificates(), "{format:?}");
    keytool(
        &folder,
        &[
            "-importkeystore",
            "-noprompt",
            "-srcstoretype",
            format.java(),
            "-srckeystore",
            "store",
            "-srcstorepass",
            PASSWORD,
            "-srcalias",
            format.alias(),
            "-deststoretype",
            "PKCS12",
            "-destkeystore",
            "copy",
            "-deststorepass",
            PASSWORD,
        ],
    );
    let pass = format!("pass:{PASSWORD}");
    let copy = openssl(&folder, &["pkcs12", "-in", "copy", "-passin", &pass, "-nodes", "-nocerts"]);
    let key = PrivateKey::from_pem(copy.as_bytes()).unwrap();
    assert_eq!(key.public_key(), parts.key.public_key(), "{format:?}");
}

#[test]
fn java_reads_key_stores_of_legacy_rc2() {
    check_java_key_store(LEGACY_RC2, RSA);
}

#[test]
fn java_reads_key_stores_of_legacy_des() {
    check_java_key_store(LEGACY_DES, P256);
}

#[test]
fn java_reads_key_stores_of_modern_2023() {
    check_java_key_store(MODERN_2023, P521);
    check_java_key_store(MODERN_2023, KeyAlgorithm::Ed25519);
}

#[test]
fn java_reads_jks_key_stores() {
    check_java_key_store(Format::Jks, RSA);
    check_java_key_store(Format::Jks, KeyAlgorithm::Ed25519);
}

#[test]
fn java_refuses_a_wrong_password() {
    let folder = folder();
    let parts = Parts::new(P256);
    for format in [LEGACY_RC2, MODERN_2023, Format::Jks] {
        write(&folder, "store", &format.trust_store(&parts));
        let arguments =
            ["-list", "-storetype", format.java(), "-keystore", "store", "-storepass", "wrong horse"];
        let output =
            Command::new("keytool").current_dir(folder.path()).args(JAVA).args(arguments).output().unwrap();
        assert!(!output.status.success(), "{format:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.to_lowercase().contains("password was incorrect"), "{format:?}: {text}");
    }
}

/// Both CAs must be listed as trusted, although they have one subject.
#[test]
fn java_reads_trust_stores() {
    let folder = folder();
    let parts = Parts::new(P256);
    for format in [LEGACY_RC2, LEGACY_DES, MODERN_2023, Format::Jks] {
        write(&folder, "store", &format.trust_store(&parts));
        let store = ["-storetype", format.java(), "-keystore", "store", "-storepass", PASSWORD];
        let listed = keytool(&folder, &[&["-list"], &store[..]].concat());
        assert!(listed.contains("Your keystore contains 2 entries"), "{format:?}: {listed}");
        assert_eq!(listed.matches("trustedCertEntry").count(), 2, "{format:?}: {listed}");
        for (alias, ca) in ["ca", "ca-1"].into_iter().zip(parts.ca.certificates()) {
            let exported =
                keytool(&folder, &[&["-exportcert", "-rfc", "-alias", alias], &store[..]].concat());
            assert_eq!(certificates(&exported), std::slice::from_ref(ca), "{format:?} {alias}");
        }
    }
}

/// The CAs in a JKS key store are entries of their own, beside the key.
#[test]
fn java_finds_the_cas_beside_the_key_in_jks() {
    let folder = folder();
    write(&folder, "store", &Format::Jks.key_store(&Parts::new(P256)));
    let listed =
        keytool(&folder, &["-list", "-storetype", "JKS", "-keystore", "store", "-storepass", PASSWORD]);
    assert_eq!(listed.matches("trustedCertEntry").count(), 2, "{listed}");
    assert_eq!(listed.matches("PrivateKeyEntry").count(), 1, "{listed}");
}

/// Java's passwords are characters, not octets: beyond ASCII a wrong encoding shows.
#[test]
fn java_reads_a_password_that_is_not_ascii() {
    let folder = folder();
    let parts = Parts::new(P256);
    let text = "pässwörd €";
    let password = Password::new(text.as_bytes()).unwrap();
    write(&folder, "store", &jks::trust_store(&parts.ca, &password, now()).unwrap());
    fs::write(folder.path().join("password"), text).unwrap();
    let mut command = Command::new("keytool");
    command.current_dir(folder.path()).env("LC_ALL", "C.UTF-8").args(JAVA).args([
        "-list",
        "-storetype",
        "JKS",
        "-keystore",
        "store",
        "-storepass:file",
        "password",
    ]);
    let listed = run(&mut command, "a JDK");
    assert!(listed.contains("Your keystore contains 2 entries"), "{listed}");
}

/// OpenSSL names the algorithms that it meets, so this also proves that each profile is what it says.
fn check_openssl(format: Format, kind: KeyAlgorithm, arguments: &[&str], lines: &[&str]) {
    let folder = folder();
    let parts = Parts::new(kind);
    write(&folder, "store", &format.key_store(&parts));
    let pass = format!("pass:{PASSWORD}");
    let read = ["pkcs12", "-in", "store", "-passin", &pass, "-nodes", "-info"];
    let text = openssl(&folder, &[&read, arguments].concat());
    for line in lines {
        assert!(text.contains(&format!("{line}\n")), "{format:?} lacks {line:?}: {text}");
    }
    assert!(text.contains("friendlyName: 1\n"), "{format:?}: {text}");
    assert_eq!(text.matches("localKeyID: ").count(), 2, "{format:?}: {text}");
    let all = [parts.chain.certificates(), parts.ca.certificates()].concat();
    let key_at = text.find("-----BEGIN PRIVATE KEY-----").unwrap();
    let (before, key) = text.split_at(key_at);
    assert_eq!(certificates(before), all, "{format:?}");
    let key = PrivateKey::from_pem(key.as_bytes()).unwrap();
    assert_eq!(key.to_pkcs8_der().expose(), parts.key.to_pkcs8_der().expose(), "{format:?}");
}

#[test]
fn openssl_reads_legacy_rc2() {
    let lines = [
        "MAC: sha1, Iteration 10000",
        "PKCS7 Encrypted data: pbeWithSHA1And40BitRC2-CBC, Iteration 10000",
        "Shrouded Keybag: pbeWithSHA1And3-KeyTripleDES-CBC, Iteration 10000",
    ];
    check_openssl(LEGACY_RC2, RSA, &["-legacy"], &lines);
}

#[test]
fn openssl_reads_legacy_des_without_its_legacy_provider() {
    let lines = [
        "MAC: sha1, Iteration 10000",
        "PKCS7 Encrypted data: pbeWithSHA1And3-KeyTripleDES-CBC, Iteration 10000",
        "Shrouded Keybag: pbeWithSHA1And3-KeyTripleDES-CBC, Iteration 10000",
    ];
    check_openssl(LEGACY_DES, RSA, &[], &lines);
}

const AES: [&str; 2] = [
    "PKCS7 Encrypted data: PBES2, PBKDF2, AES-256-CBC, Iteration 10000, PRF hmacWithSHA256",
    "Shrouded Keybag: PBES2, PBKDF2, AES-256-CBC, Iteration 10000, PRF hmacWithSHA256",
];

#[test]
fn openssl_reads_modern_2023() {
    check_openssl(MODERN_2023, RSA, &[], &[&["MAC: sha256, Iteration 10000"], &AES[..]].concat());
}

/// PBMAC1 is known from OpenSSL 3.4 on; older ones read the rest when they are told to leave the check out.
#[test]
fn openssl_reads_modern_2026_but_for_its_check() {
    check_openssl(MODERN_2026, RSA, &["-nomacver"], &AES);
}

/// Go's libraries are those that the peer writes its keystores with, and they know PBMAC1.
#[test]
fn go_reads_all_formats() {
    let folder = folder();
    let parts = Parts::new(RSA);
    let formats = [LEGACY_RC2, LEGACY_DES, MODERN_2023, MODERN_2026, Format::Jks];
    for (number, format) in formats.into_iter().enumerate() {
        let kind = format.java().to_lowercase();
        write(&folder, &format!("{number}.key.{kind}"), &format.key_store(&parts));
        write(&folder, &format!("{number}.trust.{kind}"), &format.trust_store(&parts));
    }
    fs::write(folder.path().join("password"), PASSWORD).unwrap();
    run(Command::new(go_program()).arg("keystores").arg(folder.path()), "Go");
    for (number, format) in formats.into_iter().enumerate() {
        let found =
            |name: &str| fs::read_to_string(folder.path().join(format!("{number}.{name}.pem"))).unwrap();
        let key = String::from_utf8(parts.key.to_pem(KeyEncoding::Pkcs8).expose().to_vec()).unwrap();
        let certificates = parts.chain.to_pem() + &parts.ca.to_pem();
        assert!(found("key") == key + &certificates, "{format:?}: {}", found("key"));
        assert_eq!(found("trust"), parts.ca.to_pem(), "{format:?}");
    }
}

/// The program that the variable names, else a fresh one.
fn go_program() -> PathBuf {
    if let Some(program) = std::env::var_os("SIGNET_INTEROP") {
        return program.into();
    }
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interop-keystores");
    let mut command = Command::new("go");
    command
        .args(["build", "-trimpath", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../e2e/interop"))
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-buildvcs=false -mod=readonly");
    run(&mut command, "Go 1.26 or later (https://go.dev/dl)");
    program
}

/// A key store of keytool's with one key.
fn check_from_java(arguments: &[&str], kind: &str) {
    let folder = folder();
    let make = [
        "-genkeypair",
        "-keyalg",
        "EC",
        "-groupname",
        "secp256r1",
        "-dname",
        "CN=java",
        "-alias",
        "own",
        "-storetype",
        kind,
        "-keystore",
        "store",
        "-storepass",
        PASSWORD,
    ];
    keytool(&folder, &[arguments, &make].concat());
    let file = fs::read(folder.path().join("store")).unwrap();
    let (alias, key, certificate) = match kind {
        "JKS" => {
            let mut entries = jks::read(&file, &password(), Limit::SECRET).unwrap();
            let entry = entries.pop().unwrap();
            (entry.alias, entry.key.unwrap(), entry.certificates[0].clone())
        }
        _ => {
            let mut contents = pkcs12::read(&file, &password(), Limit::SECRET).unwrap();
            let key = contents.keys.pop().unwrap();
            (key.friendly_name.unwrap(), key.key, contents.certificates[0].certificate.clone())
        }
    };
    assert_eq!(alias, "own");
    assert_eq!(certificate.subject(), "CN=java");
    assert_eq!(key.public_key(), certificate.public_key());
}

#[test]
fn key_stores_of_java_are_read() {
    check_from_java(&[], "PKCS12");
    check_from_java(&["-J-Dkeystore.pkcs12.legacy=true"], "PKCS12");
    check_from_java(&[], "JKS");
}

#[test]
fn key_stores_of_openssl_are_read() {
    let folder = folder();
    let parts = Parts::new(RSA);
    write(&folder, "key", &parts.key.to_pem(KeyEncoding::Pkcs8));
    fs::write(folder.path().join("chain"), parts.chain.to_pem()).unwrap();
    let pass = format!("pass:{PASSWORD}");
    let export = [
        "pkcs12", "-export", "-inkey", "key", "-in", "chain", "-name", "own", "-passout", &pass, "-out",
        "store",
    ];
    for arguments in [&[][..], &["-legacy"], &["-descert"], &["-macalg", "sha512"]] {
        openssl(&folder, &[&export, arguments].concat());
        let file = fs::read(folder.path().join("store")).unwrap();
        let contents = pkcs12::read(&file, &password(), Limit::SECRET).unwrap();
        assert_eq!(contents.keys[0].friendly_name.as_deref(), Some("own"), "{arguments:?}");
        assert_eq!(contents.keys[0].key.public_key(), parts.key.public_key(), "{arguments:?}");
        let found = contents.certificates.iter().map(|entry| &entry.certificate);
        assert!(found.eq(parts.chain.certificates()), "{arguments:?}");
    }
}
