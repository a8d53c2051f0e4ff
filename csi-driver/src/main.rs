//! `signet-csi-driver`: see the library.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    runtime::prepare();
    let outcome = match csi_driver::Args::try_parse() {
        Ok(args) => csi_driver::run(args).map(|()| ExitCode::SUCCESS),
        Err(error) => Err(error.into()),
    };
    outcome.unwrap_or_else(|error| runtime::exit::failure("signet-csi-driver", &error))
}
