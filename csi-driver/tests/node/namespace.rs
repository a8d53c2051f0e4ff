//! Root for those who are not: a user namespace in which this program runs once more.

use std::process::Command;
use std::sync::OnceLock;

/// Whether these tests have run in a user namespace, all at once and with success, because here they cannot. False for
/// root.
///
/// # Panics
/// When a test failed in there, or no namespace is to be had.
pub(crate) fn ran_the_tests() -> bool {
    static OUTCOME: OnceLock<String> = OnceLock::new();
    if nix::unistd::geteuid().is_root() {
        return false;
    }
    let failure = OUTCOME.get_or_init(|| {
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "--"])
            .args(std::env::args_os())
            .output()
            .expect("unshare of util-linux is needed to mount without root");
        let told = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
        if output.status.success() { String::new() } else { told.join("\n") }
    });
    assert!(failure.is_empty(), "as root of a user namespace:\n{failure}");
    true
}

/// Whether files can be given to this group.
pub(crate) fn has_group(group: u64) -> bool {
    let map = std::fs::read_to_string("/proc/self/gid_map").unwrap();
    map.lines().any(|line| {
        let numbers: Vec<u64> = line.split_whitespace().map(|number| number.parse().unwrap()).collect();
        (numbers[0]..numbers[0] + numbers[2]).contains(&group)
    })
}
