//! `cargo xtask image`: container images without a container engine.

use clap::Args;
use e2e::cluster::{Cluster, Name};
use e2e::image;

/// Where the images go.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Also import them into every node of this running cluster
    #[arg(long, value_name = "NAME")]
    cluster: Option<Name>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    // A wrong name is said before minutes of building.
    let cluster = arguments.cluster.as_ref().map(Cluster::attach).transpose()?;
    for archive in image::build_all()? {
        println!("{}  {}", archive.reference, archive.path.display());
        if let Some(cluster) = &cluster {
            cluster.import_image(&archive.path)?;
        }
    }
    if let Some(cluster) = &cluster {
        println!("All are known to every node of cluster {}.", cluster.name());
    }
    Ok(())
}
