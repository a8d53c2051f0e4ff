//! Everything about this repository that is more than a cargo command.

mod bench;
mod cluster;
mod demo;
mod fuzz;
mod golden;
mod image;
mod install;
mod rules_page;
mod test;

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
    /// From nothing to two pods that speak mutual TLS with certificates minted at mount
    Demo(demo::Arguments),
    /// Everything that must hold before a change lands; what CI runs
    Test(test::Arguments),
    /// Random bytes against every parser of foreign bytes
    Fuzz(fuzz::Arguments),
    /// How fast and how large the programs are, measured on a real cluster
    Bench(bench::Arguments),
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
        Task::Demo(arguments) => demo::run(&arguments).await,
        Task::Test(arguments) => test::run(&arguments).await,
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments).await,
        Task::Cluster(command) => cluster::run(command).await,
        Task::Golden(arguments) => golden::run(&arguments),
        Task::Image(arguments) => image::run(&arguments),
    }
}
