//! `signet-webhook`: see the library.

use std::process::ExitCode;

use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    runtime::install_crypto();
    match webhook::run(webhook::Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("signet-webhook: {error:#}");
            ExitCode::FAILURE
        }
    }
}
