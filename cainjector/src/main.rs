//! `signet-cainjector`: see the library.

use std::process::ExitCode;

use cainjector::Command;

#[tokio::main]
async fn main() -> ExitCode {
    runtime::prepare();
    let outcome = match Command::parse() {
        Ok(Command::Run(args)) => cainjector::run(*args).await.map(|()| ExitCode::SUCCESS),
        Ok(Command::Explain(args)) => args.run().await,
        Ok(Command::Plan(args)) => args.run().await,
        Ok(Command::Rbac(args)) => args.run().await,
        Ok(Command::Policies(args)) => args.run(),
        Ok(Command::Lint(args)) => args.run(),
        Err(error) => Err(error.into()),
    };
    outcome.unwrap_or_else(|error| runtime::exit::failure("signet-cainjector", &error))
}
