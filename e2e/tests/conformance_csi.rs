//! The driver under the conformance suite of CSI, on its real socket.
//!
//! The suite asks a Controller service for its capabilities before each case about nodes, even where none is advertised,
//! so it is given one that has none of use: the driver itself serves no such thing.

mod common;

use std::convert::Infallible;
use std::path::Path;

use anyhow::{Context as _, ensure};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use common::driver;
use e2e::cluster::Cluster;
use e2e::toolchain::{Tool, Toolchain};
use http_body_util::StreamBody;
use hyper::body::Frame;

/// Cases about nodes that ask for drivers of another kind (spec/csi-driver.md §7.1), as regular expressions on their
/// names, and why they are left out. What remains must pass; cases of calls that the driver does not advertise skip
/// themselves. Of the suite's groups, `Controller Service` and those about snapshots and groups of volumes are not run:
/// a driver of inline volumes serves none of it.
const SKIPPED: [(&str, &str); 3] = [
    (
        "should remove target path",
        "it makes its volume by CreateVolume; mount_certificates.rs looks at targets",
    ),
    ("should work", "it makes its volume by CreateVolume"),
    ("should be idempotent", "it makes its volume by CreateVolume"),
];

/// A ControllerGetCapabilitiesResponse with one capability of type UNKNOWN, in its gRPC frame; the suite refuses an
/// empty list.
const CAPABILITIES: &[u8] = &[0, 0, 0, 0, 4, 0x0a, 0x02, 0x0a, 0x00];

#[tokio::test]
async fn the_driver_conforms_to_the_parts_of_csi_that_it_serves() -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("failed to make a folder for the suite")?;
    let controller = folder.path().join("controller.sock");
    serve_controller(&controller)?;
    // At least this many: about identity; and about a node's facts and arguments.
    run("Identity Service", folder.path(), None, 3).await?;
    run("Node Service", folder.path(), Some(&controller), 7).await
}

/// Runs one group of the suite, of which at least `passed_min` cases must apply and all must pass.
async fn run(group: &str, folder: &Path, controller: Option<&Path>, passed_min: u32) -> anyhow::Result<()> {
    let program = Toolchain::ensure(&[Tool::CsiSanity])?.path(Tool::CsiSanity);
    let socket = Cluster::shared()?.node_root(1)?.join(driver::SOCKET.trim_start_matches('/'));
    let mut command = tokio::process::Command::new(program);
    command
        .arg(format!("--csi.endpoint=unix://{}", socket.display()))
        .arg(format!("--csi.mountdir={}", folder.join("target").display()))
        .arg(format!("--csi.stagingdir={}", folder.join("staging").display()))
        .arg(format!("--ginkgo.focus={group}"))
        .args(SKIPPED.map(|(cases, _)| format!("--ginkgo.skip={cases}")))
        .arg("--ginkgo.no-color");
    if let Some(controller) = controller {
        command.arg(format!("--csi.controllerendpoint=unix://{}", controller.display()));
    }
    let output = command.output().await.context("failed to run csi-sanity")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "csi-sanity failed:\n{said}{}", String::from_utf8_lossy(&output.stderr));
    let (passed, failed) = summary(&said).with_context(|| format!("csi-sanity said:\n{said}"))?;
    ensure!(failed == 0 && passed >= passed_min, "{passed} cases passed and {failed} failed:\n{said}");
    println!("csi-sanity, {group}: {passed} cases passed, none failed");
    Ok(())
}

/// The numbers in the suite's last line: `SUCCESS! -- 11 Passed | 0 Failed | 0 Pending | 80 Skipped`.
fn summary(said: &str) -> anyhow::Result<(u32, u32)> {
    let line = said.lines().find(|line| line.contains(" Passed | ")).context("there is no summary")?;
    let count = |what: &str| {
        let before = line.split(what).next().unwrap_or_default().trim_end();
        let number = before.rsplit(' ').next().unwrap_or_default();
        number.parse::<u32>().with_context(|| format!("there is no number before {what:?} in {line:?}"))
    };
    Ok((count("Passed")?, count("Failed")?))
}

fn serve_controller(socket: &Path) -> anyhow::Result<()> {
    let listener = tokio::net::UnixListener::bind(socket).context("failed to listen for the suite")?;
    let router = Router::new().route("/csi.v1.Controller/ControllerGetCapabilities", post(capabilities));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(())
}

async fn capabilities() -> Response {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [Frame::data(Bytes::from_static(CAPABILITIES)), Frame::trailers(trailers)];
    let body = StreamBody::new(futures::stream::iter(frames.map(Ok::<_, Infallible>)));
    ([(header::CONTENT_TYPE, "application/grpc")], Body::new(body)).into_response()
}
