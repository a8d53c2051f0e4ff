//! How a process ends: its last words and its exit status, which are the peers'.

use std::process::ExitCode;

use crate::tasks::Overdue;

/// Work in flight was not finished in time, as timeout(1) has it.
const DEADLINE: u8 = 124;

/// Says on standard error why the process ends, and gives the exit status: 124 where work in flight outlived the
/// shutdown, 1 for everything else. A second signal ends the process with 130 ([`crate::shutdown`]). Flags that cannot
/// be parsed are told by clap in its own words, and its `--help` is no failure at all.
pub fn failure(name: &str, error: &anyhow::Error) -> ExitCode {
    if let Some(error) = error.downcast_ref::<clap::Error>() {
        // Nothing is left to be done where even that cannot be written.
        let _ = error.print();
        return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    eprintln!("{name}: {error:#}");
    if error.chain().any(<dyn std::error::Error>::is::<Overdue>) {
        return ExitCode::from(DEADLINE);
    }
    ExitCode::FAILURE
}

/// The exit status of a command that was asked something: 0 for yes, 1 for no, 2 where not everything could be read.
pub fn answer(answer: Option<bool>) -> ExitCode {
    ExitCode::from(match answer {
        Some(true) => 0,
        Some(false) => 1,
        None => 2,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use anyhow::anyhow;
    use clap::Command;

    use super::*;

    fn check(error: impl Into<anyhow::Error>, wanted: u8) {
        let error = error.into();
        let code = failure("process", &error);
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(wanted)), "{error:?}");
    }

    #[test]
    fn each_end_has_its_status() {
        check(anyhow!("disk is gone"), 1);
        check(Overdue(Duration::from_secs(1)), 124);
        check(anyhow::Error::from(Overdue(Duration::from_secs(1))).context("while ending"), 124);
        let parsed = |flag| Command::new("process").version("1").try_get_matches_from(["process", flag]);
        check(parsed("--nonsense").unwrap_err(), 1);
        check(parsed("--version").unwrap_err(), 0);
    }
}
