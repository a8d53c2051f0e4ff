//! Builds Vault from the Go modules in `e2e/tools/vault`, and keeps it between runs.
//!
//! Vault is built with a library of its own tree, `sdk`, of which no release fits: it has two things of different releases. So the
//! release that fits best is copied and changed in two places, beside a copy of the module, in the cache. Nothing of it is in
//! this repository.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use crate::toolchain::{digest, go, lock};
use crate::{paths, progress};

/// The module's folder, and its files.
const MODULE: &str = "e2e/tools/vault";
const FILES: [&str; 3] = ["go.mod", "go.sum", "main.go"];

/// Without its user interface, cloud providers and databases; without symbols.
const FLAGS: [&str; 4] = ["-tags", "minimal", "-ldflags", "-s -w"];

/// The release of `sdk` that is copied.
const SDK: &str = "github.com/hashicorp/vault/sdk@v0.21.0";

/// The release with which Vault shares this one file: its `RestorePolicy` tells the name as well.
const LATER_SDK: &str = "github.com/hashicorp/vault/sdk@v0.24.0";
const LATER_FILE: &str = "helper/keysutil/lock_manager.go";

/// The file in which Vault's tree has another function type than any release.
const CHANGED_FILE: &str = "framework/backend.go";
const CHANGED_FROM: &str = "ActivationFunc func(context.Context, *logical.Request, string) error";
const CHANGED_TO: &str = "ActivationFunc func(context.Context, *logical.Request) error";

/// The program, which is built unless it is there.
pub(super) fn program() -> anyhow::Result<PathBuf> {
    let module = paths::workspace().join(MODULE);
    let read = |name: &str| {
        let path = module.join(name);
        fs::read(&path).with_context(|| format!("failed to read {}", path.display()))
    };
    let mut parts = FILES.iter().map(|name| read(name)).collect::<anyhow::Result<Vec<_>>>()?;
    parts.extend([SDK, LATER_SDK, LATER_FILE, CHANGED_TO].map(|text| text.as_bytes().to_vec()));
    let dir = paths::cache()?.join(format!("vault-{}", digest(&parts, &FLAGS.join(" "))));
    fs::create_dir_all(&dir).with_context(|| format!("failed to create {}", dir.display()))?;
    let program = dir.join("vault");
    if program.is_file() {
        return Ok(program);
    }
    let _lock = lock(&dir)?;
    if !program.is_file() {
        progress::step("building vault, which takes minutes", || make(&module, &dir, &program))?;
    }
    Ok(program)
}

fn make(module: &Path, dir: &Path, program: &Path) -> anyhow::Result<()> {
    let source = dir.join("source");
    // A build that was broken off left something.
    if source.exists() {
        fs::remove_dir_all(&source).with_context(|| format!("failed to remove {}", source.display()))?;
    }
    fs::create_dir(&source).with_context(|| format!("failed to create {}", source.display()))?;
    for name in FILES {
        copy(&module.join(name), &source.join(name))?;
    }
    let sdk = source.join("sdk");
    copy_tree(&downloaded(SDK, dir)?, &sdk)?;
    copy(&downloaded(LATER_SDK, dir)?.join(LATER_FILE), &sdk.join(LATER_FILE))?;
    let changed = sdk.join(CHANGED_FILE);
    let text =
        fs::read_to_string(&changed).with_context(|| format!("failed to read {}", changed.display()))?;
    ensure!(
        text.matches(CHANGED_FROM).count() == 1,
        "{} does not hold {CHANGED_FROM:?} once",
        changed.display()
    );
    fs::write(&changed, text.replace(CHANGED_FROM, CHANGED_TO))
        .with_context(|| format!("failed to write {}", changed.display()))?;
    let unfinished = dir.join(".unfinished");
    let output = unfinished.to_str().context("the cache's path is not text")?;
    go(&[&["build", "-trimpath"], &FLAGS[..], &["-o", output, "."]].concat(), &source)?;
    fs::rename(&unfinished, program)
        .with_context(|| format!("failed to put {} into the cache", program.display()))?;
    fs::remove_dir_all(&source).with_context(|| format!("failed to remove {}", source.display()))
}

/// The folder of a module in the cache of Go.
fn downloaded(module: &str, outside: &Path) -> anyhow::Result<PathBuf> {
    #[derive(Deserialize)]
    struct Download {
        #[serde(rename = "Dir")]
        dir: PathBuf,
    }
    let told = go(&["mod", "download", "-json", module], outside)?;
    let download: Download = serde_json::from_str(&told).context("`go mod download` told no folder")?;
    Ok(download.dir)
}

/// Copies what is in a folder. Those of Go's cache cannot be written to; the copies can.
fn copy_tree(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir(to).with_context(|| format!("failed to create {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("failed to list {}", from.display()))? {
        let entry = entry.with_context(|| format!("failed to list {}", from.display()))?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() { copy_tree(&path, &target)? } else { copy(&path, &target)? }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let bytes = fs::read(from).with_context(|| format!("failed to read {}", from.display()))?;
    fs::write(to, bytes).with_context(|| format!("failed to write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_pins_the_release_of_sdk_that_is_copied() {
        let module = fs::read_to_string(paths::workspace().join(MODULE).join("go.mod")).unwrap();
        assert!(module.contains(&format!("\t{}\n", SDK.replace('@', " "))), "{module}");
        assert!(module.contains("replace github.com/hashicorp/vault/sdk => ./sdk"), "{module}");
    }

    #[test]
    fn a_copied_folder_has_what_is_below_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/c"), "x").unwrap();
        copy_tree(&dir.path().join("a"), &dir.path().join("d")).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("d/b/c")).unwrap(), "x");
    }
}
