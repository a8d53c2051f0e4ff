//! The controller's process.

use clap::Parser as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    runtime::prepare();
    controller::run(controller::Args::parse()).await
}
