//! The bytes of a `caBundle`: what is added, what is taken out, and what is never touched. PEM is ASCII, but what others wrote
//! around it need be no text at all.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use issuance::certificate::Certificate;
use issuance::pem::{self, Limit};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::WebhookClientConfig;
use serde_json::{Value, json};

/// The CAs that callers are to trust.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Those that were replaced, oldest first, and are needed while leaves of theirs live. One that is missing although
    /// a newer one is there was taken out by somebody who knows of the newer one, and stays out.
    pub older: Vec<Certificate>,
    /// Those that sign or will sign next, in this order. They belong in every bundle.
    pub required: Vec<Certificate>,
    /// Those that nothing needs any more. They are taken out where no cainjector is told to write.
    pub retired: Vec<Certificate>,
}

/// What is in each webhook of a configuration, and what should be.
#[derive(Debug)]
pub(super) struct Bundles {
    /// As they were read.
    pub(super) before: Vec<Vec<u8>>,
    /// As they should be; None where nothing is to be done.
    after: Vec<Option<Vec<u8>>>,
}

impl Bundles {
    /// `is_annotated` tells that a cainjector writes there, too.
    pub(super) fn new(clients: &[&WebhookClientConfig], wanted: &Wanted, is_annotated: bool) -> Self {
        let bytes = |ByteString(bytes): &ByteString| bytes.clone();
        let before: Vec<Vec<u8>> =
            clients.iter().map(|client| client.ca_bundle.as_ref().map(bytes).unwrap_or_default()).collect();
        let after = before.iter().map(|bundle| changed(bundle, wanted, is_annotated)).collect();
        Self { before, after }
    }

    /// The bundles after the [`operations`](Self::operations).
    pub(super) fn afterwards(&self) -> Vec<Vec<u8>> {
        let bundles = self.before.iter().zip(&self.after);
        bundles.map(|(before, after)| after.as_ref().unwrap_or(before).clone()).collect()
    }

    /// The operations (RFC 6902) that make the bundles as they should be; empty when they are. The first operation makes
    /// the patch fail if the configuration has changed since it was read.
    pub(super) fn operations(&self, resource_version: Option<&str>) -> Vec<Value> {
        let changed = self.after.iter().enumerate();
        let mut operations: Vec<Value> = changed
            .filter_map(|(index, bundle)| {
                let path = format!("/webhooks/{index}/clientConfig/caBundle");
                Some(json!({"op": "add", "path": path, "value": STANDARD.encode(bundle.as_ref()?)}))
            })
            .collect();
        if !operations.is_empty() {
            let unchanged =
                json!({"op": "test", "path": "/metadata/resourceVersion", "value": resource_version});
            operations.insert(0, unchanged);
        }
        operations
    }
}

/// What a bundle should be. None: what it is.
pub(super) fn changed(bundle: &[u8], wanted: &Wanted, is_annotated: bool) -> Option<Vec<u8>> {
    let missing: Vec<&Certificate> = wanted.required.iter().filter(|ca| !contains(bundle, ca)).collect();
    let knows_nothing_newer = missing.len() == wanted.required.len();
    let older = wanted.older.iter().filter(|ca| knows_nothing_newer && !contains(bundle, ca));
    let completed = added(bundle, older.chain(missing));
    let reduced = if is_annotated || wanted.required.is_empty() {
        None
    } else {
        removed(completed.as_deref().unwrap_or(bundle), &wanted.retired)
    };
    reduced.or(completed)
}

/// The bundle with these at its end. None: they are none.
fn added<'a>(bundle: &[u8], missing: impl Iterator<Item = &'a Certificate>) -> Option<Vec<u8>> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    let mut missing = missing.peekable();
    missing.peek()?;
    // What others wrote stays as it is, even if some of it is broken: clients skip what they cannot read. What is no
    // PEM at all is a placeholder.
    let mut added = match find(bundle, BEGIN) {
        Some(_) => [bundle.trim_ascii_end(), b"\n"].concat(),
        None => Vec::new(),
    };
    missing.for_each(|ca| added.extend_from_slice(ca.to_pem().as_bytes()));
    Some(added)
}

/// The bundle without these. None: it has none of them.
fn removed(bundle: &[u8], retired: &[Certificate]) -> Option<Vec<u8>> {
    let mut reduced = bundle.to_owned();
    for ca in retired {
        while let Some(range) = removable(&reduced, ca) {
            reduced.drain(range);
        }
    }
    (reduced != bundle).then_some(reduced)
}

/// Where in a bundle a CA stands as we write it, with the end of its last line. What is written in another way is not
/// ours to remove.
pub(super) fn removable(bundle: &[u8], ca: &Certificate) -> Option<Range<usize>> {
    let pem = ca.to_pem();
    let block = pem.trim_end();
    let start = find(bundle, block)?;
    let end = start + block.len();
    let line_end = bundle.get(end..).is_some_and(|rest| rest.starts_with(b"\n"));
    Some(start..end + usize::from(line_end))
}

/// Whether clients who are given this bundle trust this CA. They skip what they cannot read.
pub(super) fn contains(bundle: impl AsRef<[u8]>, ca: &Certificate) -> bool {
    let bundle = bundle.as_ref();
    find(bundle, ca.to_pem().trim_end()).is_some()
        || pem::readable_certificates(bundle, Limit::OBJECT)
            .is_ok_and(|readable| readable.certificates.contains(ca))
}

/// Where a text begins in a bundle, which is no longer than an object of the API. Most are texts, which are searched faster.
fn find(bundle: &[u8], wanted: &str) -> Option<usize> {
    match std::str::from_utf8(bundle) {
        Ok(text) => text.find(wanted),
        Err(_) => bundle.windows(wanted.len().max(1)).position(|window| window == wanted.as_bytes()),
    }
}
