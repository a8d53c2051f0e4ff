//! Container images without a container engine: static programs in a single layer, in the archive format of `docker save`.
//!
//! The same programs give the same archive, byte for byte: entries are sorted and dated 1970.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::process::write_atomically;
use crate::render::PAUSE_IMAGE;
use crate::{cargo, packages, paths, progress};

/// The account of every program that need not be root: what distroless images call `nonroot`.
const NONROOT: &str = "65532:65532";

/// The node plugin mounts file systems in other people's namespaces.
const ROOT: &str = "0:0";

/// Our four programs, with the account that each runs as.
const PROGRAMS: [(&str, &str); 4] = [
    ("signet-webhook", NONROOT),
    ("signet-cainjector", NONROOT),
    ("signet-controller", NONROOT),
    ("signet-csi-driver", ROOT),
];

/// The package with the programs that only tests and the demo run.
const FIXTURES: &str = "signet-fixtures";

/// What makes cargo build those that run in pods; see their manifest.
const FIXTURE_FEATURES: &str = "signet-fixtures/mtls";

/// The least that an admission webhook can do, which benchmarks run beside ours.
const FLOOR: &str = "floor";

/// The fixture that holds a pod's namespaces.
const PAUSE: &str = "pause";

/// An image archive on disk.
#[derive(Clone, Debug)]
pub struct Archive {
    /// The name by which pods call the image; there is no registry, so pods say `imagePullPolicy: Never`.
    pub reference: String,
    /// The archive.
    pub path: PathBuf,
}

/// The name under which the image of `program` is imported.
#[must_use]
pub fn reference(program: &str) -> String {
    if program == PAUSE {
        return PAUSE_IMAGE.to_owned();
    }
    format!("signet.local/{program}:v{}", env!("CARGO_PKG_VERSION"))
}

/// Builds our programs and the fixtures as static binaries, and an archive of each below `target/images`.
///
/// # Errors
/// When a build fails or a program is not static.
pub fn build_all() -> anyhow::Result<Vec<Archive>> {
    packages::ensure(&packages::IMAGES)?;
    let mut arguments = everything();
    arguments.extend(["--bins", "--features", FIXTURE_FEATURES]);
    let programs = build(&arguments)?;
    for (program, _) in PROGRAMS {
        ensure!(programs.contains_key(program), "package {program} has no program of that name");
    }
    programs.iter().map(|(name, path)| archive(name, path)).collect()
}

/// The program that benchmarks run beside the webhook, built as our images are.
///
/// # Errors
/// When the build fails.
pub fn floor() -> anyhow::Result<PathBuf> {
    packages::ensure(&packages::IMAGES)?;
    // The selection of the images, so that dependencies get the same features and are not built again.
    let mut arguments = everything();
    arguments.extend(["--bin", FLOOR, "--features", FIXTURE_FEATURES, "--features", "signet-fixtures/floor"]);
    build(&arguments)?.remove(FLOOR).context("the fixtures have no program called floor")
}

/// Selects our programs and the fixtures.
fn everything() -> Vec<&'static str> {
    let mut arguments = vec!["--package", FIXTURES];
    for (program, _) in PROGRAMS {
        arguments.extend(["--package", program]);
    }
    arguments
}

/// The image that holds each pod's namespaces, kept in the cache folder: a cluster start never waits for another build.
///
/// # Errors
/// When the build fails.
pub fn pause() -> anyhow::Result<Archive> {
    let source = paths::workspace().join("e2e/fixtures/src/bin/pause.rs");
    let source = fs::read(&source).with_context(|| format!("failed to read {}", source.display()))?;
    let cache = paths::cache()?;
    let file = cache.join(format!("pause-{}.tar", sha256(&source)));
    if !file.exists() {
        fs::create_dir_all(&cache).with_context(|| format!("failed to create {}", cache.display()))?;
        let scratch = cache.join(format!(".pause-build-{}", std::process::id()));
        let folder = scratch.display().to_string();
        let programs = build(&["--package", FIXTURES, "--bin", PAUSE, "--target-dir", &folder])?;
        let program = programs.get(PAUSE).context("the fixtures have no program called pause")?;
        write_archive(PAUSE, program, &file)?;
        fs::remove_dir_all(&scratch).with_context(|| format!("failed to remove {folder}"))?;
    }
    Ok(Archive { reference: reference(PAUSE), path: file })
}

/// Builds with cargo for a static target; returns the programs by name.
fn build(arguments: &[&str]) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let mut all = vec!["build", "--release", "--target", &target];
    all.extend(arguments);
    let what = format!("building static programs ({})", named(arguments).join(", "));
    let programs = progress::step(&what, || cargo::build(&all))?;
    Ok(programs.into_iter().map(|program| (program.name, program.path)).collect())
}

/// What a build's arguments ask for.
fn named<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let mut named = Vec::new();
    for pair in arguments.windows(2) {
        if let ["--package" | "--bin", name] = pair {
            named.push(*name);
        }
    }
    named
}

fn archive(program: &str, path: &Path) -> anyhow::Result<Archive> {
    let dir = paths::workspace().join("target/images");
    fs::create_dir_all(&dir).with_context(|| format!("failed to create {}", dir.display()))?;
    let file = dir.join(format!("{program}.tar"));
    write_archive(program, path, &file)?;
    Ok(Archive { reference: reference(program), path: file })
}

/// Writes the image of a program, after a look at whether it can run in one.
fn write_archive(program: &str, path: &Path, file: &Path) -> anyhow::Result<()> {
    let binary = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    if let Some(loader) = interpreter(&binary).with_context(|| format!("{} is no program", path.display()))? {
        bail!("{} is not static: it asks for {loader}", path.display());
    }
    let user = PROGRAMS.iter().find(|(name, _)| *name == program).map_or(NONROOT, |(_, user)| user);
    let bytes = docker_archive(&reference(program), program, &binary, user)?;
    write_atomically(file, &bytes)
}

/// The archive of an image with one program at its root.
fn docker_archive(reference: &str, program: &str, binary: &[u8], user: &str) -> anyhow::Result<Vec<u8>> {
    let layer = layer(program, binary).context("failed to write the layer")?;
    let layer_digest = sha256(&layer);
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "User": user,
            "WorkingDir": "/",
            "Entrypoint": [format!("/{program}")],
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
    })
    .to_string();
    let config_file = format!("{}.json", sha256(config.as_bytes()));
    let layer_file = format!("{layer_digest}/layer.tar");
    let manifest =
        json!([{"Config": config_file, "RepoTags": [reference], "Layers": [layer_file]}]).to_string();

    let mut files: BTreeMap<&str, &[u8]> = BTreeMap::new();
    files.insert(&layer_file, &layer);
    files.insert(&config_file, config.as_bytes());
    files.insert("manifest.json", manifest.as_bytes());
    let mut archive = tar::Builder::new(Vec::new());
    for (name, contents) in files {
        append(&mut archive, name, tar::EntryType::Regular, 0o644, contents)
            .context("failed to write the archive")?;
    }
    archive.into_inner().context("failed to write the archive")
}

/// A root file system: the program, and the directories that programs and runtimes expect.
fn layer(program: &str, binary: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut layer = tar::Builder::new(Vec::new());
    for (directory, mode) in [("etc", 0o755), ("run", 0o755), ("tmp", 0o1777), ("var", 0o755)] {
        append(&mut layer, directory, tar::EntryType::Directory, mode, &[])?;
    }
    append(&mut layer, program, tar::EntryType::Regular, 0o755, binary)?;
    layer.into_inner()
}

fn append(
    archive: &mut tar::Builder<Vec<u8>>,
    name: &str,
    kind: tar::EntryType,
    mode: u32,
    contents: &[u8],
) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(contents.len() as u64);
    archive.append_data(&mut header, name, contents)
}

/// The loader that an ELF program asks for: none for a static one.
fn interpreter(program: &[u8]) -> anyhow::Result<Option<String>> {
    /// The type of the segment that names the loader (ELF specification, `PT_INTERP`).
    const INTERPRETER: u64 = 3;
    let number = |offset: usize, len: usize| -> anyhow::Result<u64> {
        let bytes = program.get(offset..offset.saturating_add(len)).context("the file is cut off")?;
        Ok(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    // 64 bits, little-endian: all that we build for.
    ensure!(program.starts_with(b"\x7fELF\x02\x01"), "it is no 64-bit little-endian ELF file");
    let (table, entry, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for index in 0..count {
        let header = usize::try_from(table.saturating_add(index.saturating_mul(entry)))?;
        if number(header, 4)? == INTERPRETER {
            let start = usize::try_from(number(header.saturating_add(8), 8)?)?;
            let len = usize::try_from(number(header.saturating_add(32), 8)?)?;
            let name = program.get(start..start.saturating_add(len)).context("the file is cut off")?;
            return Ok(Some(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned()));
        }
    }
    Ok(None)
}

/// The name that images use for this machine's processor.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    use serde_json::Value;

    #[test]
    fn refuses_what_is_no_program_or_cut_off() {
        let own = fs::read("/proc/self/exe").unwrap();
        for bytes in [&b""[..], b"#!/bin/sh", b"\x7fELF\x02\x01", &own[..64]] {
            assert!(interpreter(bytes).is_err());
        }
    }

    #[test]
    fn tells_a_dynamic_program_by_its_loader() {
        let own = fs::read("/proc/self/exe").unwrap();
        let loader = interpreter(&own).unwrap().expect("tests are linked dynamically");
        assert!(loader.contains("ld-"), "{loader}");
    }

    #[test]
    fn the_same_program_gives_the_same_archive() {
        let make = |binary: &[u8]| docker_archive("signet.local/x:v1", "x", binary, NONROOT).unwrap();
        assert_eq!(make(b"program"), make(b"program"));
        assert_ne!(make(b"program"), make(b"other"));
    }

    #[test]
    fn the_archive_describes_its_layer() {
        let bytes = docker_archive("signet.local/x:v1", "x", b"program", NONROOT).unwrap();
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            assert_eq!((entry.header().mtime().unwrap(), entry.header().uid().unwrap()), (0, 0));
            let mut contents = Vec::new();
            entry.read_to_end(&mut contents).unwrap();
            files.insert(entry.path().unwrap().display().to_string(), contents);
        }
        let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        assert_eq!(manifest[0]["RepoTags"][0], "signet.local/x:v1");
        let config: Value = serde_json::from_slice(&files[manifest[0]["Config"].as_str().unwrap()]).unwrap();
        let layer = &files[manifest[0]["Layers"][0].as_str().unwrap()];
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", sha256(layer)));
        // A pod with runAsNonRoot is refused where the user is a name.
        assert_eq!(config["config"]["User"], "65532:65532");
        let names: Vec<_> = tar::Archive::new(layer.as_slice())
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(names, ["etc", "run", "tmp", "var", "x"]);
    }

    #[test]
    fn a_build_is_named_after_what_it_makes() {
        assert_eq!(
            named(&["--package", "a", "--package", "b", "--bin", "c", "--bins", "--features", "d"]),
            ["a", "b", "c"]
        );
    }
}
