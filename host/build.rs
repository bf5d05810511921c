//! Provides the components and compiles the built-in one ahead of time for the target's baseline CPU.
//!
//! The components come from the first of these that exists:
//! 1. the file or folder that `CONSUL_SESSION_COMPONENT` names: the built-in component, or a folder with
//!    `embedded.wasm`, `plugin.wasm` and `command.wasm`,
//! 2. the guest crate of the workspace, built by a nested cargo into `OUT_DIR`,
//! 3. the folder `artifacts`, which a published package contains.
//!
//! docs.rs and clippy run no component, and get empty files.

use anyhow::{Context, Result, ensure};
use consul_session_component::{Artifact, COMMAND, EMBEDDED, PLUGIN, engine_config};
use std::env;
use std::path::{Path, PathBuf};

fn main() -> Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    for variable in [
        "CONSUL_SESSION_COMPONENT",
        "CONSUL_SESSION_NO_RUSTUP",
        "DOCS_RS",
        "RUSTC_WORKSPACE_WRAPPER",
    ] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR")?);
    for artifact in [EMBEDDED, PLUGIN, COMMAND] {
        let component = if is_stub() {
            Vec::new()
        } else {
            component(&artifact, &out)?
        };
        if artifact.name == EMBEDDED.name {
            std::fs::write(out.join("embedded.cwasm"), precompile(&component)?)?;
        }
        std::fs::write(out.join(artifact.name).with_extension("wasm"), component)?;
    }
    Ok(())
}

fn is_stub() -> bool {
    let clippy = env::var_os("RUSTC_WORKSPACE_WRAPPER")
        .is_some_and(|wrapper| wrapper.to_string_lossy().contains("clippy"));
    env::var_os("DOCS_RS").is_some() || clippy
}

fn component(artifact: &Artifact, out: &Path) -> Result<Vec<u8>> {
    let file = format!("{}.wasm", artifact.name);
    if let Some(path) = env::var_os("CONSUL_SESSION_COMPONENT") {
        let path = PathBuf::from(path);
        // A build script does not run in the directory that cargo was started in.
        ensure!(
            path.is_absolute(),
            "CONSUL_SESSION_COMPONENT must be an absolute path, not {}",
            path.display()
        );
        println!("cargo:rerun-if-changed={}", path.display());
        if path.is_dir() {
            return read(&path.join(file));
        }
        // A single file is the built-in component, and this build then provides no others.
        return if artifact.name == EMBEDDED.name {
            read(&path)
        } else {
            Ok(Vec::new())
        };
    }
    let host = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").context("CARGO_MANIFEST_DIR")?);
    let workspace = host.join("..");
    if workspace.join("guest/src/component.rs").is_file() {
        for input in [
            "core",
            "guest",
            "wit",
            "Cargo.toml",
            "Cargo.lock",
            ".cargo/config.toml",
        ] {
            println!("cargo:rerun-if-changed={}", workspace.join(input).display());
        }
        return artifact.build(&workspace, &out.join("guest"));
    }
    let packaged = host.join("artifacts").join(file);
    println!("cargo:rerun-if-changed={}", packaged.display());
    read(&packaged)
        .context("this package contains no component; set CONSUL_SESSION_COMPONENT to one")
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn precompile(component: &[u8]) -> Result<Vec<u8>> {
    if component.is_empty() {
        return Ok(Vec::new());
    }
    let target = env::var("TARGET")?;
    let engine = wasmtime::Engine::new(&engine_config(Some(&target))?)?;
    Ok(engine.precompile_component(component)?)
}
