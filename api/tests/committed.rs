//! The committed CRDs are those that the types generate.

use serde_json::Value;
use std::path::Path;

#[test]
fn the_committed_crds_are_fresh() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/crds");
    for generated in api::crd::all() {
        let part = |pointer: &str| generated.pointer(pointer).and_then(Value::as_str).unwrap();
        let name = format!("{}_{}.yaml", part("/spec/group"), part("/spec/names/plural"));
        let text = std::fs::read_to_string(folder.join(&name))
            .unwrap_or_else(|error| panic!("manifests/crds/{name}: {error}"));
        let committed: Value = serde_saphyr::from_str(&text).expect("the file is YAML");
        assert!(committed == generated, "{name} is stale; run `cargo xtask golden`");
    }
}
