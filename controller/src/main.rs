//! `signet-controller`: see the library.

use std::process::ExitCode;

use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    runtime::prepare();
    let outcome = match controller::Args::try_parse() {
        Ok(args) => controller::run(args).await.map(|()| ExitCode::SUCCESS),
        Err(error) => Err(error.into()),
    };
    outcome.unwrap_or_else(|error| runtime::exit::failure("signet-controller", &error))
}
