//! Builds the components from the guest crate, and compiles the plugin ahead of time for the target's baseline CPU.
//!
//! They come from the first of these that is there:
//! 1. what `CONSUL_SESSION_COMPONENT` names: a plugin, or a folder with `plugin.wasm` and `command.wasm`,
//! 2. the guest crate beside this one, built by a cargo of its own into `OUT_DIR`,
//! 3. the folder `component`, as packed into a published crate.
//!
//! Under docs.rs and clippy nothing runs a component, and empty stubs stand in for them.

use anyhow::{Context, Result, ensure};
use guest::{Artifact, COMMAND, PLUGIN};
use std::env;
use std::path::{Path, PathBuf};

#[path = "src/engine.rs"]
mod engine;
#[path = "build/guest.rs"]
mod guest;

fn main() -> Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-changed=src/engine.rs");
    for variable in [
        "CONSUL_SESSION_COMPONENT",
        "CONSUL_SESSION_NO_RUSTUP",
        "DOCS_RS",
        "RUSTC_WORKSPACE_WRAPPER",
    ] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR")?);
    let (plugin, command, compiled) = if stub() {
        (Vec::new(), Vec::new(), Vec::new())
    } else {
        let plugin = component(&PLUGIN, &out)?;
        let compiled = precompile(&plugin)?;
        (plugin, component(&COMMAND, &out)?, compiled)
    };
    std::fs::write(out.join("plugin.wasm"), plugin)?;
    std::fs::write(out.join("plugin.cwasm"), compiled)?;
    std::fs::write(out.join("command.wasm"), command)?;
    Ok(())
}

fn stub() -> bool {
    let clippy = env::var_os("RUSTC_WORKSPACE_WRAPPER")
        .is_some_and(|wrapper| wrapper.to_string_lossy().contains("clippy"));
    env::var_os("DOCS_RS").is_some() || clippy
}

fn component(artifact: &Artifact, out: &Path) -> Result<Vec<u8>> {
    let file = format!("{}.wasm", artifact.name);
    if let Some(path) = env::var_os("CONSUL_SESSION_COMPONENT") {
        let path = PathBuf::from(path);
        // A build script runs in another folder than cargo.
        ensure!(
            path.is_absolute(),
            "CONSUL_SESSION_COMPONENT must be an absolute path, not {}",
            path.display()
        );
        println!("cargo:rerun-if-changed={}", path.display());
        if path.is_dir() {
            return read(&path.join(file));
        }
        // A single file is the plugin; this build then has no command to hand out.
        return if artifact.name == PLUGIN.name {
            read(&path)
        } else {
            Ok(Vec::new())
        };
    }
    let host = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").context("CARGO_MANIFEST_DIR")?);
    let workspace = host.join("..");
    if workspace.join("guest/src/component.rs").is_file() {
        for input in [
            "guest",
            "wit",
            "Cargo.toml",
            "Cargo.lock",
            ".cargo/config.toml",
        ] {
            println!("cargo:rerun-if-changed={}", workspace.join(input).display());
        }
        return guest::build(artifact, &workspace, &out.join("guest"));
    }
    let packed = host.join("component").join(file);
    println!("cargo:rerun-if-changed={}", packed.display());
    read(&packed).context("no component: the guest crate is not here either; set CONSUL_SESSION_COMPONENT to a built one")
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn precompile(component: &[u8]) -> Result<Vec<u8>> {
    let target = env::var("TARGET")?;
    let engine = wasmtime::Engine::new(&engine::config(Some(&target))?)?;
    Ok(engine.precompile_component(component)?)
}
