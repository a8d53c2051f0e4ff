//! `cargo xtask bench mount`: how fast the driver publishes volumes, and how much memory they cost it.

use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::progress;
use issuance::key::{Curve, KeyAlgorithm, RsaSize};

use super::figures::{Series, Work};
use super::keys;
use super::load::{self, Operation};
use super::node::Node;
use super::process::Memory;

const ECDSA: KeyAlgorithm = KeyAlgorithm::Ecdsa(Curve::P256);
pub(crate) const RSA: KeyAlgorithm = KeyAlgorithm::Rsa(RsaSize::Bits2048);

/// How many RSA keys the driver has ready by default, and so by the chart.
const STOCK: usize = 8;

/// How often the full stock is used up: with all keys of all of them, a p99 is not the slowest of all.
const STOCKS: usize = 15;

/// Ends the names of the series for which every key must be made while its pod waits.
pub(crate) const EXHAUSTED: &str = ", stock used up";

/// How many volumes are under way at a time, where many are.
const AT_ONCE: usize = 32;

/// How long keys of one kind are made.
const KEYS_FOR: Duration = Duration::from_secs(5);

/// What was found out about mounts.
pub(crate) struct Mounts {
    pub(crate) publish: Vec<Series>,
    pub(crate) unpublish: Vec<Series>,
    pub(crate) memory: Vec<(String, Memory)>,
    pub(crate) keys: Vec<Work>,
}

/// Measures on a cluster on which the chart is installed.
///
/// # Errors
/// The first thing that does not work: a failure is never measured. What was made is removed all the same.
pub(crate) async fn run(cluster: &Cluster, volumes: usize) -> anyhow::Result<Mounts> {
    let node = Node::set_up(cluster).await?;
    let folders = volumes.max(STOCK);
    let measured = measure(&node, volumes, folders).await;
    progress::note("removing what was made for the measurement");
    let removed = node.tear_down(cluster, folders).await;
    let mounts = measured?;
    removed?;
    Ok(mounts)
}

async fn measure(node: &Node, volumes: usize, folders: usize) -> anyhow::Result<Mounts> {
    node.prepare(folders)?;
    load::idle(node.program()).await?;
    let mut memory = vec![("before the first volume".to_owned(), node.program().memory()?)];
    // The driver learns of issuer and Secret at the first volume that names them, which is not measured.
    node.publish(0, ECDSA).await?;
    node.unpublish(0).await?;

    let mut published = Vec::new();
    let mut unpublished = Vec::new();
    for (algorithm, at_once) in [(ECDSA, 1), (ECDSA, AT_ONCE), (RSA, 1), (RSA, AT_ONCE)] {
        let mut name = format!("{algorithm}, {at_once} at a time");
        let filled = format!("{volumes} volumes: {name}");
        let emptied = name.clone();
        if algorithm == RSA {
            if at_once == 1 {
                published.push(from_stock(node, &format!("{name}, from stock")).await?.told());
            }
            name.push_str(EXHAUSTED);
            load::each(STOCK, 1, publish(node, RSA)).await?;
            load::each(STOCK, 1, unpublish(node)).await?;
        }
        let load = load::each(volumes, at_once, publish(node, algorithm));
        published.push(load::measure(&name, node.program(), load).await?.told());
        load::idle(node.program()).await?;
        node.check(volumes, algorithm)?;
        memory.push((filled, node.program().memory()?));
        let load = load::each(volumes, at_once, unpublish(node));
        unpublished.push(load::measure(&emptied, node.program(), load).await?.told());
        node.check_gone(volumes)?;
    }
    load::idle(node.program()).await?;
    memory.push(("all of them unpublished".to_owned(), node.program().memory()?));
    progress::note("measuring how fast one processor makes keys");
    let keys = vec![keys::measure(ECDSA, KEYS_FOR)?, keys::measure(RSA, KEYS_FOR)?];
    Ok(Mounts { publish: published, unpublish: unpublished, memory, keys })
}

/// RSA volumes whose keys were made before they were asked for. Only the publishing is measured, not the waiting for
/// the next stock.
async fn from_stock(node: &Node, name: &str) -> anyhow::Result<Series> {
    let mut batches = Vec::new();
    for _ in 0..STOCKS {
        load::idle(node.program()).await?;
        batches.push(load::measure(name, node.program(), load::each(STOCK, 1, publish(node, RSA))).await?);
        node.check(STOCK, RSA)?;
        load::each(STOCK, 1, unpublish(node)).await?;
    }
    Ok(Series::together(name, &batches))
}

fn publish(node: &Node, algorithm: KeyAlgorithm) -> impl Fn(usize) -> Operation + Clone + Send + 'static {
    let node = node.clone();
    move |number| {
        let node = node.clone();
        Box::pin(async move { node.publish(number, algorithm).await })
    }
}

fn unpublish(node: &Node) -> impl Fn(usize) -> Operation + Clone + Send + 'static {
    let node = node.clone();
    move |number| {
        let node = node.clone();
        Box::pin(async move { node.unpublish(number).await })
    }
}
