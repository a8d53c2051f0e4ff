//! Cargo, run in this workspace by our own programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::paths;

/// A program that cargo built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The folder of the package that it belongs to.
    pub package: PathBuf,
    /// The name of its target: of the program, the library or the file of tests.
    pub name: String,
    /// Whether it runs tests.
    pub is_test: bool,
    /// Whether it runs a file of integration tests rather than the unit tests of a library or a program.
    pub is_integration_test: bool,
    /// Where it is.
    pub path: PathBuf,
}

/// The cargo that runs us, else the one on the path, with nothing to read from and the workspace as its folder.
pub fn command<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(paths::workspace()).stdin(Stdio::null());
    command
}

/// Runs cargo to its end, its messages being shown.
///
/// # Errors
/// When it cannot be started or says that it failed.
pub fn run(arguments: &[&str]) -> anyhow::Result<()> {
    let status = command(arguments).status().context("failed to run cargo")?;
    ensure!(status.success(), "`cargo {}` failed ({status}); its messages are above", arguments.join(" "));
    Ok(())
}

/// Builds what the arguments say, for instance `["build", "--bins"]` or `["test", "--no-run"]`; returns the programs
/// in the order of their packages and names.
///
/// # Errors
/// When cargo cannot be started or says that it failed; its messages are shown.
pub fn build(arguments: &[&str]) -> anyhow::Result<Vec<Program>> {
    let mut command = command(arguments);
    command.args(["--quiet", "--message-format=json-render-diagnostics"]).stderr(Stdio::inherit());
    let output = command.output().context("failed to run cargo")?;
    let status = output.status;
    ensure!(status.success(), "`cargo {}` failed ({status}); its messages are above", arguments.join(" "));
    Ok(programs(&String::from_utf8_lossy(&output.stdout)))
}

/// The programs in cargo's messages, one JSON object a line.
fn programs(messages: &str) -> Vec<Program> {
    let mut programs: Vec<Program> = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| {
            let text = |pointer| message.pointer(pointer).and_then(Value::as_str);
            Some(Program {
                package: Path::new(text("/manifest_path")?).parent()?.to_path_buf(),
                name: text("/target/name")?.to_owned(),
                is_test: message.pointer("/profile/test").and_then(Value::as_bool).unwrap_or_default(),
                is_integration_test: text("/target/kind/0") == Some("test"),
                path: PathBuf::from(text("/executable")?),
            })
        })
        .collect();
    programs.sort_by(|a, b| (&a.package, &a.name).cmp(&(&b.package, &b.name)));
    programs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_read_from_the_messages_and_all_else_is_passed_over() {
        let messages = r#"
            {"manifest_path":"/w/b/Cargo.toml","target":{"kind":["test"],"name":"mounts"},"profile":{"test":true},"executable":"/w/t/mounts-1"}
            {"manifest_path":"/w/a/Cargo.toml","target":{"kind":["lib"],"name":"a"},"profile":{"test":true},"executable":"/w/t/a-1"}
            {"manifest_path":"/w/a/Cargo.toml","target":{"kind":["bin"],"name":"run"},"profile":{"test":false},"executable":"/w/t/run"}
            {"manifest_path":"/w/a/Cargo.toml","target":{"kind":["lib"],"name":"a"},"profile":{"test":false},"executable":null}
            not JSON
            {"reason":"build-finished","success":true}"#;
        let program = |package: &str, name: &str, is_test, is_integration_test, path: &str| Program {
            package: package.into(),
            name: name.into(),
            is_test,
            is_integration_test,
            path: path.into(),
        };
        assert_eq!(
            programs(messages),
            [
                program("/w/a", "a", true, false, "/w/t/a-1"),
                program("/w/a", "run", false, false, "/w/t/run"),
                program("/w/b", "mounts", true, true, "/w/t/mounts-1"),
            ]
        );
    }
}
