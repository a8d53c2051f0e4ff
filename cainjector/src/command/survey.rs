//! What the commands that look at a cluster have in common.

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Args, InjectionArgs};
use crate::config::Config;

/// Says why the cluster cannot be looked at, and gives the exit status for that.
pub(super) fn unreadable(error: impl std::fmt::Display) -> ExitCode {
    eprintln!("signet-cainjector: {error:#}");
    runtime::exit::answer(None)
}

impl InjectionArgs {
    /// How an injector with these flags would run.
    ///
    /// # Errors
    /// When it would not start.
    pub(super) fn config(&self) -> anyhow::Result<Config> {
        let others = Args::try_parse_from(["signet-cainjector"])?;
        Ok(Config::load(Args { injection: self.clone(), ..others })?)
    }
}
