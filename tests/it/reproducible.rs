//! The components have the same bytes wherever they are built.

use consul_session::Runtime;
use consul_session_component::{COMMAND, PLUGIN};
use std::path::Path;

#[test]
fn two_builds_in_different_folders_give_the_same_bytes() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("some/where/else");
    for part in [
        "Cargo.toml",
        "Cargo.lock",
        "rust-toolchain.toml",
        ".cargo",
        "wit",
        "core",
        "guest",
        "host",
        "tests",
    ] {
        copy_all(&sources.join(part), &copy.join(part));
    }
    for (artifact, embedded) in [(PLUGIN, Runtime::plugin()), (COMMAND, Runtime::command())] {
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
            built == embedded,
            "{} differs: {} and {} bytes",
            artifact.name,
            built.len(),
            embedded.len()
        );
    }
}

fn copy_all(from: &Path, to: &Path) {
    if from.is_dir() {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let name = entry.unwrap().file_name();
            if name != "node_modules" {
                copy_all(&from.join(&name), &to.join(&name));
            }
        }
    } else {
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    }
}
