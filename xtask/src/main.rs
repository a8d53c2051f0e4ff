//! Everything about this repository that is more than a cargo command.

mod cluster;
mod golden;
mod image;

use clap::{Parser, Subcommand};

/// Tasks of the Signet repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Start, look into and stop a real Kubernetes cluster on this machine
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Write every generated file of the repository, or check that each is fresh
    Golden(golden::Arguments),
    /// Build static programs and container images of them, without a container engine
    Image(image::Arguments),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Cluster(command) => cluster::run(command).await,
        Task::Golden(arguments) => golden::run(&arguments),
        Task::Image(arguments) => image::run(&arguments),
    }
}
