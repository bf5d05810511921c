//! Builds a component from the guest crate. The build script does, and a test that compares the bytes of two builds.

use anyhow::{Context, Result, bail, ensure};
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

const GUEST: &str = "consul-session-guest";
/// What the component says it is.
const DESCRIPTION: &str = "Sessions of HashiCorp Consul over wasi:http";
/// Where it says it comes from: a package URL, as tools that read components take nothing but URLs.
const SOURCE: &str = concat!("pkg:cargo/consul-session-guest@", env!("CARGO_PKG_VERSION"));

/// A component, and what it is built with.
pub(crate) struct Artifact {
    /// Its name, and that of its file.
    pub(crate) name: &'static str,
    target: &'static str,
    features: &'static [&'static str],
}

/// Plain functions.
pub(crate) const PLUGIN: Artifact = Artifact {
    name: "plugin",
    target: "wasm32-unknown-unknown",
    features: &[],
};
/// A command besides.
pub(crate) const COMMAND: Artifact = Artifact {
    name: "command",
    target: "wasm32-wasip2",
    features: &["--features", "command"],
};

/// Runs cargo for the guest. It shares nothing with the outer cargo but the toolchain: with the same target directory the
/// two would wait for each other for ever, and the outer one's flags are for another machine.
pub(crate) fn build(artifact: &Artifact, workspace: &Path, target: &Path) -> Result<Vec<u8>> {
    ensure_target(artifact.target)?;
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
        .arg(target);
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
    let built = target
        .join(artifact.target)
        .join("component/consul_session_guest.wasm");
    finish(&std::fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?)
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
        ("version", env!("CARGO_PKG_VERSION")),
        ("licenses", env!("CARGO_PKG_LICENSE")),
        ("description", DESCRIPTION),
        ("source", SOURCE),
    ] {
        slim.section(&wasm_encoder::CustomSection {
            name: name.into(),
            data: value.as_bytes().into(),
        });
    }
    Ok(slim.finish())
}
