//! `signet-csi-driver`: see the library.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    runtime::prepare();
    let args = csi_driver::Args::parse();
    match csi_driver::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("signet-csi-driver: {error:#}");
            ExitCode::FAILURE
        }
    }
}
