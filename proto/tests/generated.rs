//! Compares the committed code with what the generator makes of the `.proto` files now. `UPDATE_EXPECT=1` makes the
//! test write instead of compare.

use std::path::Path;

use expect_test::expect_file;

#[test]
fn the_committed_code_is_what_the_generator_makes_now() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let out = tempfile::tempdir().unwrap();
    let files = protox::compile(["csi.proto", "registration.proto", "signer.proto"], [&folder]).unwrap();
    tonic_prost_build::configure()
        .skip_debug(["csi.v1.NodePublishVolumeRequest", "signet.signer.v1.SignRequest"])
        .out_dir(out.path())
        .compile_fds(files)
        .unwrap();

    let fresh = |name: &str| std::fs::read_to_string(out.path().join(name)).unwrap();
    expect_file!["../src/generated/csi.v1.rs"].assert_eq(&fresh("csi.v1.rs"));
    expect_file!["../src/generated/pluginregistration.rs"].assert_eq(&fresh("pluginregistration.rs"));
    expect_file!["../src/generated/signet.signer.v1.rs"].assert_eq(&fresh("signet.signer.v1.rs"));
}
