//! Builds the components from the guest crate, and compiles the plugin ahead of time for the target's baseline CPU.
//!
//! They come from the first of these that is there:
//! 1. what `CONSUL_SESSION_COMPONENT` names: a plugin, or a folder with `plugin.wasm` and `command.wasm`,
//! 2. the guest crate beside this one, built by a cargo of its own into `OUT_DIR`,
//! 3. the folder `component`, as packed into a published crate.
//!
//! Under docs.rs and clippy nothing runs a component, and empty stubs stand in for them.

use anyhow::{Context, Result, bail, ensure};
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "src/engine.rs"]
mod engine;

const GUEST: &str = "consul-session-guest";

/// A component, and what it is built with.
struct Artifact {
    name: &'static str,
    target: &'static str,
    features: &'static [&'static str],
}

const PLUGIN: Artifact = Artifact {
    name: "plugin",
    target: "wasm32-unknown-unknown",
    features: &[],
};
const COMMAND: Artifact = Artifact {
    name: "command",
    target: "wasm32-wasip2",
    features: &["--features", "command"],
};

fn main() -> Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
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
        return finish(&read(&build_guest(artifact, &workspace, out)?)?);
    }
    let packed = host.join("component").join(file);
    println!("cargo:rerun-if-changed={}", packed.display());
    read(&packed).context("no component: the guest crate is not here either; set CONSUL_SESSION_COMPONENT to a built one")
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Runs cargo for the guest. It shares nothing with the outer cargo but the toolchain: with the same target directory the
/// two would wait for each other for ever, and the outer one's flags are for another machine.
fn build_guest(artifact: &Artifact, workspace: &Path, out: &Path) -> Result<PathBuf> {
    ensure_target(artifact.target)?;
    let target = out.join("guest");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(workspace)
        .args([
            "rustc",
            "--lib",
            "--crate-type",
            "cdylib",
            "--package",
            GUEST,
        ])
        .args([
            "--target",
            artifact.target,
            "--profile",
            "component",
            "--locked",
        ])
        .args(artifact.features)
        .arg("--target-dir")
        .arg(&target);
    for (name, _) in env::vars_os() {
        let scrubbed = name.to_str().is_some_and(|name| {
            let cargos = name.starts_with("CARGO_")
                && !name.starts_with("CARGO_HOME")
                && !name.starts_with("CARGO_NET_");
            let registries = name.starts_with("CARGO_REGISTRIES_")
                || name.starts_with("CARGO_HTTP_")
                || name.starts_with("CARGO_SOURCE_");
            cargos && !registries || name.starts_with("RUSTC") || name.ends_with("RUSTFLAGS")
        });
        if scrubbed {
            cargo.env_remove(name);
        }
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", guest_flags(workspace)?);
    let output = cargo.output().context("cannot run cargo for the guest")?;
    ensure!(
        output.status.success(),
        "building the component failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(target
        .join(artifact.target)
        .join("component/consul_session_guest.wasm"))
}

/// The paths of this machine are kept out of the component, so that two builds give the same bytes; the linker's padding
/// of every call to five bytes is taken out, 14 KB.
fn guest_flags(workspace: &Path) -> Result<OsString> {
    let workspace = workspace.canonicalize()?;
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| {
        let home = env::var_os("HOME").or_else(|| env::var_os("USERPROFILE"))?;
        Some(PathBuf::from(home).join(".cargo"))
    });
    let mut flags = vec![OsString::from("-Clink-arg=--compress-relocations")];
    let mut remap = |from: &Path, to: &str| {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push("=");
        flag.push(to);
        flags.push(flag);
    };
    // A registry's folder is named after its host: every one maps to the same word.
    if let Some(sources) = home.map(|home| home.join("registry/src")) {
        for registry in std::fs::read_dir(sources).into_iter().flatten().flatten() {
            remap(&registry.path(), "crates");
        }
    }
    remap(&workspace, ".");
    let sysroot = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--print", "sysroot"])
        .output()?;
    let sysroot = String::from_utf8(sysroot.stdout)?;
    remap(
        &Path::new(sysroot.trim()).join("lib/rustlib/src/rust"),
        "rust",
    );
    let mut encoded = OsString::new();
    for (place, flag) in flags.into_iter().enumerate() {
        if place > 0 {
            encoded.push("\u{1f}");
        }
        encoded.push(flag);
    }
    Ok(encoded)
}

/// rustup installs the target named in rust-toolchain.toml by itself, unless it was told not to install anything
/// (`RUSTUP_AUTO_INSTALL=0`).
fn ensure_target(target: &str) -> Result<()> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", target])
        .output()?;
    let libdir = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    if libdir.is_dir() {
        return Ok(());
    }
    let toolchain = env::var("RUSTUP_TOOLCHAIN").unwrap_or_default();
    let mut command = format!("rustup target add {target}");
    if !toolchain.is_empty() {
        command.push_str(&format!(" --toolchain {toolchain}"));
    }
    if env::var_os("CONSUL_SESSION_NO_RUSTUP").is_some() || toolchain.is_empty() {
        bail!("Rust's standard library for {target} is missing. Install it: {command}");
    }
    println!("cargo:warning=installing Rust's standard library for {target}: {command}");
    let output = Command::new("rustup")
        .args(["target", "add", target, "--toolchain", &toolchain])
        .output()
        .with_context(|| format!("rustup cannot be run. Install the target by hand: {command}"))?;
    ensure!(
        output.status.success(),
        "`{command}` failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Takes the debug names off the component (6 KB) and writes down what it is, in the custom sections that registries
/// read.
fn finish(component: &[u8]) -> Result<Vec<u8>> {
    use wasmparser::Payload;
    let mut slim = wasm_encoder::Component::new();
    let mut depth = 0;
    for payload in wasmparser::Parser::new(0).parse_all(component) {
        let payload = payload?;
        let named = matches!(&payload, Payload::CustomSection(section) if section.name() == "component-name");
        if depth == 0
            && !named
            && let Some((id, range)) = payload.as_section()
        {
            slim.section(&wasm_encoder::RawSection {
                id,
                data: &component[range],
            });
        }
        match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) if depth > 0 => depth -= 1,
            _ => {}
        }
    }
    let mut names = wasm_encoder::ComponentNameSection::new();
    names.component("consul-session");
    slim.section(&names);
    for (name, value) in [
        ("version", env::var("CARGO_PKG_VERSION")?),
        ("licenses", env::var("CARGO_PKG_LICENSE")?),
        ("description", env::var("CARGO_PKG_DESCRIPTION")?),
        ("source", env::var("CARGO_PKG_REPOSITORY")?),
    ] {
        if !value.is_empty() {
            slim.section(&wasm_encoder::CustomSection {
                name: name.into(),
                data: value.as_bytes().into(),
            });
        }
    }
    Ok(slim.finish())
}

fn precompile(component: &[u8]) -> Result<Vec<u8>> {
    let target = env::var("TARGET")?;
    let engine = wasmtime::Engine::new(&engine::config(Some(&target))?)?;
    Ok(engine.precompile_component(component)?)
}
