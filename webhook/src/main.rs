//! `signet-webhook`: see the library.

use std::process::ExitCode;

use webhook::{Command, linter};

#[tokio::main]
async fn main() -> ExitCode {
    runtime::prepare();
    let outcome = match Command::parse() {
        Command::Serve(args) => webhook::run(*args).await.map(|()| ExitCode::SUCCESS),
        Command::Validate(args) => linter::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("signet-webhook: {error:#}");
        ExitCode::FAILURE
    })
}
