//! `signet-webhook`: see the library.

use std::process::ExitCode;

use webhook::{Command, linter};

#[tokio::main]
async fn main() -> ExitCode {
    runtime::prepare();
    let outcome = match Command::parse() {
        Ok(Command::Serve(args)) => webhook::run(*args).await.map(|()| ExitCode::SUCCESS),
        Ok(Command::Validate(args)) => linter::run(&args),
        Err(error) => Err(error.into()),
    };
    outcome.unwrap_or_else(|error| runtime::exit::failure("signet-webhook", &error))
}
