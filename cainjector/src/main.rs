//! The cainjector's process.

use clap::Parser as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    runtime::install_crypto();
    cainjector::run(cainjector::Args::parse()).await
}
