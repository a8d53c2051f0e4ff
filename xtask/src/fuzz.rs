//! `cargo xtask fuzz`: random bytes against every parser of foreign bytes, with libFuzzer on the stable compiler.
//!
//! What cargo-fuzz does on a nightly compiler, minus the address sanitizer: our code is free of `unsafe`, and what is
//! looked for is panics, broken properties, and too much time or memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::{cargo, paths, progress};
use issuance::authority::Authority;
use issuance::bundle::Bundle;
use issuance::key::{Curve, KeyAlgorithm, KeyEncoding, PrivateKey, RsaSize};
use issuance::keystore::{KeyEntry, Password, jks, pkcs12};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// What the compiler adds: counters of edges and records of comparisons, which guide the engine.
const INSTRUMENTATION: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// With a target given, flags are not for build scripts and macros, which would not link with them.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// Seconds for one input; ordinary ones take microseconds.
const INPUT_SECONDS_MAX: u32 = 5;

/// Megabytes for the whole process, the engine's own corpus included.
const MEMORY_MB_MAX: u32 = 1024;

/// Octets of one input: the longest request that we read has 36,500 characters of PEM.
const INPUT_BYTES_MAX: u32 = 40_000;

/// The same for reviews, of which the large ones take another way: more than 64 KiB, or objects of many parts.
const REVIEW_BYTES_MAX: u32 = 256 * 1024;

/// One review of so many to start from is large, by so many names: 80 KB.
const LARGE_EACH: usize = 10;
const LARGE_NAMES: usize = 4_000;

/// A program of the crate `fuzz`, with what it starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Target {
    Pem,
    PrivateKey,
    Request,
    Certificate,
    LiteralSubject,
    Pkcs12,
    Jks,
    Lint,
    Review,
}

impl Target {
    const ALL: [Self; 9] = [
        Self::Pem,
        Self::PrivateKey,
        Self::Request,
        Self::Certificate,
        Self::LiteralSubject,
        Self::Pkcs12,
        Self::Jks,
        Self::Lint,
        Self::Review,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Pem => "pem",
            Self::PrivateKey => "private_key",
            Self::Request => "request",
            Self::Certificate => "certificate",
            Self::LiteralSubject => "literal_subject",
            Self::Pkcs12 => "pkcs12",
            Self::Jks => "jks",
            Self::Lint => "lint",
            Self::Review => "review",
        }
    }

    fn bytes_max(self) -> u32 {
        if self == Self::Review { REVIEW_BYTES_MAX } else { INPUT_BYTES_MAX }
    }

    /// Inputs to start from: texts of tests, or fresh keys.
    fn seeds(self) -> anyhow::Result<Vec<Vec<u8>>> {
        match self {
            Self::Pem => Ok([corpus("requests")?, corpus("certificates")?].concat()),
            Self::Request => Ok(corpus("requests")?.iter().filter_map(|text| der(text)).collect()),
            Self::Certificate => Ok(corpus("certificates")?.iter().filter_map(|text| der(text)).collect()),
            Self::PrivateKey => keys(),
            Self::LiteralSubject => Ok(SUBJECTS.iter().map(|text| text.as_bytes().to_vec()).collect()),
            Self::Pkcs12 => Ok([archives()?, examples()?].concat()),
            Self::Jks => java_stores(),
            Self::Lint => files("lint/tests/manifests"),
            Self::Review => reviews(),
        }
    }
}

/// Literal subjects with everything that RFC 4514 has: escapes, sets, quotes, identifiers, encoded values.
const SUBJECTS: [&str; 6] = [
    "CN=leaf,OU=unit,O=Example,L=Berlin,ST=BE,STREET=Street 1,C=DE",
    "CN=a\\,b+UID=u, DC=example,DC=test",
    "O=\\42\\C3\\BCcher\\ ",
    "1.2.3.4=#0C0178,SERIALNUMBER=7",
    "CN=\"quoted, text\";O=\\#hash",
    "CN=Bücher",
];

/// Flags of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How long each target runs
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Start from the seeds alone, with this seed of the random numbers: the same inputs again
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u32>,
    /// Only these targets
    #[arg(value_name = "TARGET")]
    only: Vec<Target>,
}

/// Builds the targets and runs each for the time given, as many at once as there are processors.
///
/// # Errors
/// When the build fails, or a target finds something; the message says with which input.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    run_built(&build()?, arguments)
}

fn run_built(programs: &Path, arguments: &Arguments) -> anyhow::Result<()> {
    let wanted = if arguments.only.is_empty() { &Target::ALL[..] } else { &arguments.only };
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    for some in wanted.chunks(at_once) {
        let mut running = Vec::new();
        for target in some {
            running.push((*target, start(*target, programs, arguments)?));
        }
        for (target, run) in running {
            run.finish(target)?;
        }
    }
    Ok(())
}

/// Runs every target, as [`build`] made them, for so many seconds. With a `seed` the inputs are the same in each run, but for those that are
/// made of fresh keys.
///
/// # Errors
/// As [`run`].
pub(crate) fn all(programs: &Path, seconds: u32, seed: Option<u32>) -> anyhow::Result<()> {
    run_built(programs, &Arguments { seconds, seed, only: Vec::new() })
}

/// A folder of its own, so that the flags do not rebuild everything else.
fn folder() -> PathBuf {
    paths::workspace().join("target/fuzz")
}

/// Builds every target and returns the folder that they are in.
///
/// # Errors
/// When cargo fails.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    let mut command = cargo::command(&[
        "build",
        "--quiet",
        "--package",
        "signet-fuzz",
        "--bins",
        "--profile",
        "fuzz",
        "--target",
        PLATFORM,
    ]);
    command.env("RUSTFLAGS", INSTRUMENTATION).env("CARGO_TARGET_DIR", folder());
    let status = progress::step("building the fuzz targets", || command.status());
    let status = status.context("failed to run cargo")?;
    ensure!(status.success(), "the fuzz targets do not build; cargo's messages are above");
    Ok(folder().join(PLATFORM).join("fuzz"))
}

/// A target at work.
struct Running {
    child: std::process::Child,
    log: PathBuf,
}

fn start(target: Target, programs: &Path, arguments: &Arguments) -> anyhow::Result<Running> {
    let name = target.name();
    let seeds = folder().join("seeds").join(name);
    let kept = folder().join("corpus").join(name);
    // Other seeds than those of this run would make a finding hard to repeat; what the engine itself found, it keeps,
    // unless the run is to be the same as another.
    empty(&seeds)?;
    if arguments.seed.is_some() {
        empty(&kept)?;
    }
    let findings = folder().join("findings").join(name);
    for folder in [&seeds, &kept, &findings] {
        fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    }
    for (number, seed) in target.seeds()?.iter().enumerate() {
        let path = seeds.join(number.to_string());
        fs::write(&path, seed).with_context(|| format!("failed to write {}", path.display()))?;
    }
    let log = folder().join(format!("{name}.log"));
    let output = fs::File::create(&log).with_context(|| format!("failed to create {}", log.display()))?;
    let child = Command::new(programs.join(name))
        .arg(format!("-max_total_time={}", arguments.seconds))
        // To the engine 0 is "choose one".
        .arg(format!("-seed={}", arguments.seed.unwrap_or_default()))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MB_MAX}"))
        .arg(format!("-max_len={}", target.bytes_max()))
        .arg(format!("-artifact_prefix={}/", findings.display()))
        .arg("-print_final_stats=1")
        .args([&kept, &seeds])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output)
        .spawn()
        .with_context(|| format!("failed to start the fuzz target {name}"))?;
    Ok(Running { child, log })
}

fn empty(folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("failed to empty {}", folder.display()))?;
    }
    Ok(())
}

impl Running {
    fn finish(mut self, target: Target) -> anyhow::Result<()> {
        /// Lines of a log that are shown: the panic, its place, and the file with the input.
        const SHOWN: usize = 40;
        let name = target.name();
        let status =
            self.child.wait().with_context(|| format!("failed to wait for the fuzz target {name}"))?;
        let log = fs::read(&self.log).with_context(|| format!("failed to read {}", self.log.display()))?;
        let log = String::from_utf8_lossy(&log);
        if !status.success() {
            let lines: Vec<&str> = log.lines().collect();
            let shown = lines.get(lines.len().saturating_sub(SHOWN)..).unwrap_or_default().join("\n");
            bail!(
                "the fuzz target {name} found something; the whole log is in {}:\n{shown}",
                self.log.display()
            );
        }
        let inputs = log.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
        println!("   {name}: {} inputs", inputs.unwrap_or("an unknown number of").trim());
        Ok(())
    }
}

/// The texts of one kind in the corpus of `issuance`.
fn corpus(kind: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    files(&format!("issuance/tests/corpus/{kind}"))
}

/// The contents of a folder of the workspace.
fn files(folder: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    let folder = paths::workspace().join(folder);
    let mut files = fs::read_dir(&folder)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("failed to list {}", folder.display()))?;
    files.sort_by_key(fs::DirEntry::file_name);
    files
        .iter()
        .map(|file| fs::read(file.path()).with_context(|| format!("failed to read {:?}", file.path())))
        .collect()
}

/// A review of the example of each rule, which breaks it.
fn reviews() -> anyhow::Result<Vec<Vec<u8>>> {
    let mut reviews = Vec::new();
    for (folder, group) in EXAMPLES {
        for text in files(&format!("rules/examples/{folder}"))? {
            let example: Value = serde_saphyr::from_slice(&text).context("an example is no YAML")?;
            let kind = example["object"]["kind"].as_str().unwrap_or_default();
            let mut review = json!({
                "apiVersion": "admission.k8s.io/v1",
                "kind": "AdmissionReview",
                "request": {
                    "uid": "u",
                    "operation": if example["old"].is_null() { "CREATE" } else { "UPDATE" },
                    "resource": {"group": group, "version": "v1", "resource": format!("{}s", kind.to_lowercase())},
                    "subResource": example["subresource"].as_str().unwrap_or_default(),
                    "name": example["object"]["metadata"]["name"],
                    "namespace": "team-a",
                    "userInfo": if example["requester"].is_null() { json!({}) } else { example["requester"].clone() },
                    "object": example["object"],
                    "oldObject": example["old"],
                },
            });
            if reviews.len() % LARGE_EACH == 0 {
                // The engine would hardly find out by itself how to make one large.
                let spec = review.pointer_mut("/request/object/spec").and_then(Value::as_object_mut);
                let names = Value::from(vec!["large.example.com"; LARGE_NAMES]);
                spec.map(|spec| spec.insert("dnsNames".to_owned(), names));
            }
            reviews.push(review.to_string().into_bytes());
        }
    }
    Ok(reviews)
}

/// The folders with examples, and the group of the objects in them.
const EXAMPLES: [(&str, &str); 5] = [
    ("certificate", "cert-manager.io"),
    ("certificaterequest", "cert-manager.io"),
    ("issuer", "cert-manager.io"),
    ("order", "acme.cert-manager.io"),
    ("challenge", "acme.cert-manager.io"),
];

/// The content of the first PEM block; `None` for the inputs whose PEM is what is wrong with them.
fn der(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let (_, begun) = text.split_once("-----BEGIN ")?;
    let (_, block) = begun.split_once("-----\n")?;
    let (base64, _) = block.split_once("-----END")?;
    STANDARD.decode(base64.split_whitespace().collect::<String>()).ok()
}

/// A key of each kind in each encoding.
fn keys() -> anyhow::Result<Vec<Vec<u8>>> {
    let kinds = [
        KeyAlgorithm::Rsa(RsaSize::Bits2048),
        KeyAlgorithm::Ecdsa(Curve::P256),
        KeyAlgorithm::Ecdsa(Curve::P384),
        KeyAlgorithm::Ecdsa(Curve::P521),
        KeyAlgorithm::Ed25519,
    ];
    let mut texts = Vec::new();
    for kind in kinds {
        let key = PrivateKey::generate(kind)?;
        for encoding in [KeyEncoding::Pkcs1, KeyEncoding::Pkcs8] {
            texts.push(key.to_pem(encoding).expose().to_vec());
        }
    }
    Ok(texts)
}

/// Key stores and trust stores in every profile of PKCS#12.
fn archives() -> anyhow::Result<Vec<Vec<u8>>> {
    let (root, password) = (root()?, Password::new(KEYSTORE_PASSWORD)?);
    let ca = Bundle::of(vec![root.certificate().clone()]);
    let entry = KeyEntry { key: root.key(), chain: root.chain(), ca: &ca };
    let mut archives = Vec::new();
    for profile in ["LegacyRC2", "LegacyDES", "Modern2023", "Modern2026"] {
        let profile: pkcs12::Profile = profile.parse()?;
        archives.push(pkcs12::key_store(profile, &entry, &password)?.expose().to_vec());
        archives.push(pkcs12::trust_store(profile, &ca, &password)?.expose().to_vec());
    }
    Ok(archives)
}

/// A key store and a trust store in JKS.
fn java_stores() -> anyhow::Result<Vec<Vec<u8>>> {
    let (root, password) = (root()?, Password::new(KEYSTORE_PASSWORD)?);
    let ca = Bundle::of(vec![root.certificate().clone()]);
    let entry = KeyEntry { key: root.key(), chain: root.chain(), ca: &ca };
    let keys = jks::key_store(jks::DEFAULT_ALIAS, &entry, &password, Timestamp::UNIX_EPOCH)?;
    let trusted = jks::trust_store(&ca, &password, Timestamp::UNIX_EPOCH)?;
    Ok(vec![keys.expose().to_vec(), trusted.expose().to_vec()])
}

fn root() -> anyhow::Result<Authority> {
    let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256))?;
    // An hour after the beginning, since a certificate is back-dated and cannot begin before 1970.
    let now = Timestamp::from_second(3600)?;
    Ok(Authority::self_signed("root", key, SignedDuration::from_hours(1), now)?)
}

/// The password that the targets read with, which is the one of RFC 9579's examples.
const KEYSTORE_PASSWORD: &[u8] = b"1234";

/// The examples of RFC 9579.
fn examples() -> anyhow::Result<Vec<Vec<u8>>> {
    let folder = paths::workspace().join("issuance/tests/data/rfc9579");
    let decoded = ["a1", "a2", "a3", "a4", "a5", "a6"].map(|name| {
        let text = fs::read_to_string(folder.join(name).with_extension("txt"))?;
        Ok(STANDARD.decode(text.split_whitespace().collect::<String>())?)
    });
    decoded.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_of_the_crate_is_a_target_and_has_seeds() {
        let folder = paths::workspace().join("fuzz/src/bin");
        let programs = fs::read_dir(folder).unwrap();
        let mut programs: Vec<String> = programs
            .map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        programs.sort();
        let mut names = Target::ALL.map(|target| target.name().to_owned());
        names.sort();
        assert_eq!(programs, names);
        for target in Target::ALL {
            assert!(target.seeds().unwrap().len() >= 2, "{target:?}");
        }
    }
}
