//! The controller's process.

use clap::Parser as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    runtime::install_crypto();
    controller::run(controller::Args::parse()).await
}
