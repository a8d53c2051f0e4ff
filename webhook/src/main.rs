//! `signet-webhook`: see the library.

use std::process::ExitCode;

use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    runtime::prepare();
    match webhook::run(webhook::Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("signet-webhook: {error:#}");
            ExitCode::FAILURE
        }
    }
}
