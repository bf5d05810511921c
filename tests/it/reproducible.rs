//! The components have the same bytes wherever they are built.

use crate::tidy::copy_workspace;
use consul_session::Runtime;
use consul_session_component::{COMMAND, EMBEDDED, PLUGIN};

#[test]
fn two_builds_in_different_folders_give_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("some/where/else");
    copy_workspace(&copy);
    for (artifact, included) in [
        (EMBEDDED, Runtime::embedded()),
        (PLUGIN, Runtime::plugin()),
        (COMMAND, Runtime::command()),
    ] {
        let built = artifact
            .build(&copy, &folder.path().join("target"))
            .unwrap();
        let text = String::from_utf8_lossy(&built);
        for path in [
            env!("CARGO_MANIFEST_DIR"),
            folder.path().to_str().unwrap(),
            ".cargo/registry",
        ] {
            assert!(
                !text.contains(path),
                "{} contains the path {path}",
                artifact.name
            );
        }
        assert!(
            built == included,
            "{} differs: {} and {} bytes",
            artifact.name,
            built.len(),
            included.len()
        );
    }
}
