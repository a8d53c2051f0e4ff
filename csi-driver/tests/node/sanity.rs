//! The conformance suite of CSI against the real program.
//!
//! The suite asks a Controller service for its capabilities before each case, even where none is advertised, so it gets
//! one from here, beside an Identity service like the program's. Its own calls are neither read-only nor inline: what
//! applies is what is refused, and what needs CreateVolume is skipped and stands as tests of ours beside this file.

use std::convert::Infallible;
use std::path::Path;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use csi_driver::identity::IdentityService;
use http_body_util::StreamBody;
use hyper::body::Frame;
use proto::csi::identity_server::IdentityServer;
use runtime::readiness::Readiness;

use crate::fixture::bare_node;

/// Names the suite's program; without it the test says that it was skipped.
const PROGRAM: &str = "SIGNET_CSI_SANITY";

/// A ControllerGetCapabilitiesResponse with one capability of type UNKNOWN, in its gRPC frame.
const CAPABILITIES: &[u8] = &[0, 0, 0, 0, 4, 0x0a, 0x02, 0x0a, 0x00];

#[tokio::test]
async fn the_conformance_suite_passes() {
    let Some(program) = std::env::var_os(PROGRAM) else {
        eprintln!("skipped: {PROGRAM} does not name csi-sanity");
        return;
    };
    let Some((driver, _api)) = bare_node().await else { return };
    let controller = driver.folder().join("controller.sock");
    serve_controller(&controller);
    let output = tokio::process::Command::new(program)
        .arg(format!("--csi.endpoint=unix://{}", driver.socket().display()))
        .arg(format!("--csi.controllerendpoint=unix://{}", controller.display()))
        .arg(format!("--csi.mountdir={}", driver.folder().join("mount").display()))
        .arg(format!("--csi.stagingdir={}", driver.folder().join("staging").display()))
        .arg("--ginkgo.skip=Controller|should remove target path|should work|should be idempotent")
        .arg("--ginkgo.no-color")
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let summary: Vec<_> = text.lines().filter(|l| l.contains("Passed") || l.contains("[FAIL]")).collect();
    eprintln!("{}", summary.join("\n"));
    assert!(output.status.success(), "{text}");
}

fn serve_controller(path: &Path) {
    let listener = tokio::net::UnixListener::bind(path).unwrap();
    let identity = IdentityService::new("csi.cert-manager.io".to_owned(), Readiness::default());
    let router = tonic::service::Routes::new(IdentityServer::new(identity))
        .into_axum_router()
        .route("/csi.v1.Controller/ControllerGetCapabilities", post(capabilities));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
}

async fn capabilities() -> Response {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [Frame::data(Bytes::from_static(CAPABILITIES)), Frame::trailers(trailers)];
    let body = StreamBody::new(futures::stream::iter(frames.map(Ok::<_, Infallible>)));
    ([(header::CONTENT_TYPE, "application/grpc")], Body::new(body)).into_response()
}
