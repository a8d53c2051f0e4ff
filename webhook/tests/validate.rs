//! `signet-webhook validate` as a process: what it prints where, and how it exits.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const GOOD: &str =
    "apiVersion: cert-manager.io/v1\nkind: Issuer\nmetadata: {name: a}\nspec: {selfSigned: {}}\n";
const BAD: &str = "apiVersion: cert-manager.io/v1\nkind: Issuer\nmetadata: {name: b}\nspec: {}\n";
const WARNED: &str = "apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: c}
spec:
  acme:
    server: https://acme.test/
    privateKeySecretRef: {name: a}
    externalAccountBinding:
      keyID: a
      keySecretRef: {name: a, key: a}
      keyAlgorithm: HS256
    solvers: [{http01: {ingress: {}}}]
";

/// Runs the command in `folder`.
fn run(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_signet-webhook"));
    command.arg("validate").args(arguments).current_dir(folder);
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = pipes.spawn().expect("the program starts");
    // A process that does not read it closes it.
    let _ = process.stdin.take().expect("its input is a pipe").write_all(input.as_bytes());
    process.wait_with_output().expect("it ends")
}

fn check(arguments: &[&str], input: &str, code: i32, out: &str, err: &str) {
    let folder = tempfile::tempdir().expect("there is a place for files");
    for (name, text) in [("good.yaml", GOOD), ("bad.yaml", BAD), ("warned.yaml", WARNED)] {
        std::fs::write(folder.path().join(name), text).expect("a file can be written");
    }
    let output = run(folder.path(), arguments, input);
    let [printed, said] =
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("it prints text"));
    assert_eq!((output.status.code(), printed.as_str()), (Some(code), out), "{arguments:?}: {said}");
    assert!(said.contains(err), "{arguments:?}: {said:?} does not say {err:?}");
}

const WRONG: &str = "error I01: spec: Required value: set one of acme, ca, selfSigned, vault, venafi\n";

#[test]
fn what_cannot_be_read_is_exit_status_2() {
    let missing = "lost.yaml: error: cannot be read: No such file or directory (os error 2)\n";
    check(&["-f", "lost.yaml"], "", 2, missing, "0 objects");
    check(&["-f", "good.yaml", "lost.yaml"], "", 2, missing, "1 object");
    check(
        &["-f", "-"],
        "a: b: c",
        2,
        "<stdin>:1:5: error L01: not YAML: mapping values are not allowed in this context\n",
        "",
    );
}

#[test]
fn what_would_be_refused_is_exit_status_1() {
    check(
        &["-f", "bad.yaml"],
        "",
        1,
        &format!("bad.yaml:4:1: {WRONG}"),
        "1 error and 0 warnings in 1 object",
    );
    check(&["-f", "."], "", 1, &format!("./bad.yaml:4:1: {WRONG}{}", warning("./warned.yaml")), "3 objects");
    check(&["-f", "warned.yaml", "--warnings-as-errors"], "", 1, &warning("warned.yaml"), "1 warning");
}

/// The one of the manifest that has one.
fn warning(file: &str) -> String {
    format!(
        "{file}:11:7: warning I-W1: spec.acme.externalAccountBinding.keyAlgorithm: Invalid value: \"HS256\": ignored; \
         remove it\n"
    )
}

#[test]
fn flags_that_cannot_be_meant_are_exit_status_1() {
    check(&[], "", 1, "", "--filename");
    check(&["-f", "good.yaml", "--max-certificate-size=0"], "", 1, "", "must be greater than 0");
}

#[test]
fn standard_input_may_hold_several_documents() {
    let documents = format!("---\n{GOOD}---\n{BAD}---\n{GOOD}---\n");
    check(
        &["-f", "-"],
        &documents,
        1,
        &format!("<stdin>:10:1: {WRONG}"),
        "1 error and 0 warnings in 3 objects",
    );
    check(&["-f", "-", "good.yaml"], GOOD, 0, "", "2 objects");
}

#[test]
fn what_is_well_is_exit_status_0() {
    check(&["-f", "good.yaml"], "", 0, "", "0 errors and 0 warnings in 1 object");
    check(&["-f", "warned.yaml"], "", 0, &warning("warned.yaml"), "0 errors and 1 warning in 1 object");
    check(&["-f", "warned.yaml", "--silence-warnings=I-W1", "--warnings-as-errors"], "", 0, "", "0 warnings");
    check(&["--help"], "", 0, &printed_help(), "");
}

fn printed_help() -> String {
    let output = run(Path::new("."), &["--help"], "");
    String::from_utf8(output.stdout).expect("it prints text")
}
