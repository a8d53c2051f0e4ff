//! `signet-cainjector`: see the library.

use std::process::ExitCode;

use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    runtime::prepare();
    let outcome = match cainjector::Args::try_parse() {
        Ok(args) => cainjector::run(args).await.map(|()| ExitCode::SUCCESS),
        Err(error) => Err(error.into()),
    };
    outcome.unwrap_or_else(|error| runtime::exit::failure("signet-cainjector", &error))
}
