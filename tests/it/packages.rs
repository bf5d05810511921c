//! What is published: each package builds when it is unpacked elsewhere, without the workspace and without building a
//! component, and the library is as light as it claims to be.

use crate::tidy::{copy_workspace, workspace};
use consul_session::Runtime;
use consul_session_component::remove_outer_variables;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};

/// The published packages, in the order in which they are published.
const PACKAGES: [&str; 5] = [
    "consul-session-core",
    "consul-session-component",
    "consul-session-dev-agent",
    "consul-session",
    "consul-session-cli",
];

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn cargo(folder: &Path) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(folder)
        .env_remove("CONSUL_SESSION_COMPONENT");
    remove_outer_variables(&mut cargo);
    cargo
}

#[test]
fn every_package_builds_when_unpacked_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("workspace");
    copy_workspace(&copy);
    // As docs/release.md says.
    let artifacts = copy.join("host/artifacts");
    std::fs::create_dir_all(&artifacts).unwrap();
    std::fs::write(artifacts.join("embedded.wasm"), Runtime::embedded()).unwrap();
    std::fs::write(artifacts.join("plugin.wasm"), Runtime::plugin()).unwrap();
    std::fs::write(artifacts.join("command.wasm"), Runtime::command()).unwrap();
    let packed = folder.path().join("packed");
    let mut package = cargo(&copy);
    package
        .args(["package", "--offline", "--no-verify", "--allow-dirty"])
        .arg("--target-dir")
        .arg(&packed);
    for name in PACKAGES {
        package.args(["--package", name]);
    }
    run(&mut package);

    let version = env!("CARGO_PKG_VERSION");
    let unpacked = folder.path().join("unpacked");
    std::fs::create_dir_all(unpacked.join(".cargo")).unwrap();
    // The profile of this workspace, so that external crates are not compiled again.
    let manifest = std::fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    let profile = manifest.find("[profile.dev]").unwrap();
    let mut config = manifest[profile..].to_owned();
    config.push_str("\n[patch.crates-io]\n");
    for name in PACKAGES {
        let archive = packed.join(format!("package/{name}-{version}.crate"));
        run(Command::new("tar").args([
            OsStr::new("-xzf"),
            archive.as_os_str(),
            OsStr::new("-C"),
            unpacked.as_os_str(),
        ]));
        let path = unpacked.join(format!("{name}-{version}"));
        for file in ["README.md", "LICENSE-MIT"] {
            assert!(path.join(file).is_file(), "{name} has no {file}");
        }
        if name != "consul-session-cli" {
            config.push_str(&format!("{name} = {{ path = {path:?} }}\n"));
        }
    }
    std::fs::write(unpacked.join(".cargo/config.toml"), config).unwrap();
    // The program depends on all of the others.
    let program = unpacked.join(format!("consul-session-cli-{version}"));
    let target = std::env::current_exe().unwrap();
    let target = target.ancestors().nth(3).unwrap();
    let demo = run(cargo(&program)
        .args(["run", "--offline", "--quiet", "--target-dir"])
        .arg(target)
        .args(["--", "demo"])
        // A build of the component would have to install its target first.
        .env("CONSUL_SESSION_NO_RUSTUP", "1"));
    let demo = String::from_utf8(demo.stdout).unwrap();
    assert!(demo.contains("13 calls, each in a fresh sandbox"), "{demo}");
}

#[test]
fn the_library_compiles_nothing_of_the_program_or_the_agent() {
    let output = run(cargo(&workspace()).args([
        "tree",
        "--offline",
        "--package",
        "consul-session",
        "--edges",
        "normal",
        "--prefix",
        "none",
    ]));
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(tree.contains("wasmtime v"), "{tree}");
    // hyper's server is compiled in any case: wasmtime-wasi-http turns on all of hyper's features.
    for foreign in [
        "clap",
        "rcgen",
        "comfy-table",
        "consul-session-cli",
        "consul-session-dev-agent",
    ] {
        let found = tree.lines().find(|line| line.starts_with(foreign));
        assert_eq!(found, None);
    }
}
