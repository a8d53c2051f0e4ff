//! The cainjector's process.

use clap::Parser as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    runtime::prepare();
    cainjector::run(cainjector::Args::parse()).await
}
