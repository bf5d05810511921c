//! The recipe for components: a nested cargo, then metadata.

use anyhow::{Context, Result, bail, ensure};
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use wasm_metadata::AddMetadata;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const DESCRIPTION: &str = "Sessions of HashiCorp Consul";
/// A package URL, because tools that read components accept only URLs.
const SOURCE: &str = concat!("pkg:cargo/consul-session@", env!("CARGO_PKG_VERSION"));

/// A component to build: a package of the workspace for one target.
#[derive(Clone, Copy, Debug)]
pub struct Artifact {
    /// The name of the component, and of its file without `.wasm`.
    pub name: &'static str,
    /// The package that is compiled.
    pub package: &'static str,
    /// The target triple.
    pub target: &'static str,
    /// The cargo features.
    pub features: &'static [&'static str],
    /// The cargo profile.
    pub profile: &'static str,
}

/// The component with the world `embedded`.
pub const EMBEDDED: Artifact = Artifact {
    name: "embedded",
    package: "consul-session-guest",
    target: "wasm32-unknown-unknown",
    features: &[],
    // The host compiles it once, ahead of time, so speed counts.
    profile: "component-fast",
};

/// The component with the world `plugin`.
pub const PLUGIN: Artifact = Artifact {
    name: "plugin",
    package: "consul-session-guest",
    target: "wasm32-unknown-unknown",
    features: &["plugin"],
    profile: "component",
};

/// The component with the world `command`.
pub const COMMAND: Artifact = Artifact {
    name: "command",
    package: "consul-session-guest",
    target: "wasm32-wasip2",
    features: &["command"],
    profile: "component",
};

impl Artifact {
    /// Builds the component from the sources in `workspace` and returns its bytes. `target_dir` must not be the target
    /// directory of a cargo that waits for this call.
    ///
    /// Installs Rust's standard library for the target by rustup if it is missing, unless `CONSUL_SESSION_NO_RUSTUP` is
    /// set. Two builds of the same sources give the same bytes, wherever they are.
    ///
    /// # Errors
    ///
    /// Fails if the target or cargo is missing, or if the sources do not compile.
    pub fn build(&self, workspace: &Path, target_dir: &Path) -> Result<Vec<u8>> {
        ensure_target(self.target)?;
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .current_dir(workspace)
            .args(["rustc", "--lib", "--crate-type", "cdylib", "--locked"])
            .args(["--package", self.package, "--target", self.target])
            .args(["--profile", self.profile])
            .args(["--features", &self.features.join(",")])
            .arg("--target-dir")
            .arg(target_dir);
        remove_outer_variables(&mut cargo);
        cargo.env("CARGO_ENCODED_RUSTFLAGS", self.rustflags(workspace)?);
        let output = cargo
            .output()
            .context("cannot run cargo for the component")?;
        ensure!(
            output.status.success(),
            "building the component failed:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let file = format!("{}.wasm", self.package.replace('-', "_"));
        let built = target_dir.join(self.target).join(self.profile).join(file);
        let component =
            std::fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
        self.with_metadata(&component)
    }

    /// Compresses relocations (14 KB) and lays out the memory. The stack has room for the deepest JSON, and without WASI the
    /// initial memory has room for a usual call (`guest/src/memory.rs`).
    fn rustflags(&self, workspace: &Path) -> Result<OsString> {
        let mut flags = remapped_paths(workspace)?;
        flags.push("-Clink-arg=--compress-relocations".into());
        if self.target.ends_with("-unknown") {
            flags.push("-Clink-arg=-zstack-size=131072".into());
            flags.push("-Clink-arg=--initial-memory=524288".into());
        }
        // The separator that cargo expects.
        Ok(flags.join(OsStr::new("\u{1f}")))
    }

    /// Writes name, version, license and source into the sections that registries read.
    fn with_metadata(&self, component: &[u8]) -> Result<Vec<u8>> {
        use wasm_metadata::AddMetadataField::Set;
        let mut metadata = AddMetadata::default();
        metadata.name = Set("consul-session".to_owned());
        metadata.version = Set(wasm_metadata::Version::new(VERSION.to_owned()));
        metadata.licenses = Set(wasm_metadata::Licenses::new(env!("CARGO_PKG_LICENSE"))?);
        metadata.description = Set(wasm_metadata::Description::new(DESCRIPTION));
        metadata.source = Set(wasm_metadata::Source::new(SOURCE)?);
        metadata.to_wasm(component)
    }
}

/// Removes the variables that an outer cargo set for its own build. They would change the result of a nested cargo, and
/// make it rebuild packages that depend on them.
pub fn remove_outer_variables(cargo: &mut Command) {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(belongs_to_outer_build) {
            cargo.env_remove(name);
        }
    }
}

fn belongs_to_outer_build(variable: &str) -> bool {
    // The registries and the cache that the outer cargo uses serve the inner one, too.
    const KEPT: [&str; 5] = [
        "CARGO_HOME",
        "CARGO_NET_",
        "CARGO_REGISTRIES_",
        "CARGO_HTTP_",
        "CARGO_SOURCE_",
    ];
    let of_cargo =
        variable.starts_with("CARGO_") && !KEPT.iter().any(|kept| variable.starts_with(kept));
    of_cargo || variable.starts_with("RUSTC") || variable.ends_with("RUSTFLAGS")
}

/// Keeps the paths of this machine out of the component.
fn remapped_paths(workspace: &Path) -> Result<Vec<OsString>> {
    let workspace = workspace.canonicalize()?;
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| {
        let home = env::var_os("HOME").or_else(|| env::var_os("USERPROFILE"))?;
        Some(PathBuf::from(home).join(".cargo"))
    });
    let mut flags = Vec::new();
    let mut remap = |from: &Path, to: &str| {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push("=");
        flag.push(to);
        flags.push(flag);
    };
    // The folder of a registry is named after its host, so every one maps to the same name.
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
    Ok(flags)
}

/// Installs the target's standard library if it is missing. rustup does so by itself for the targets named in
/// rust-toolchain.toml, unless automatic installs are switched off (`RUSTUP_AUTO_INSTALL=0`).
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
        bail!("Rust's standard library for {target} is missing; install it with: {command}");
    }
    let output = Command::new("rustup")
        .args(["target", "add", target, "--toolchain", &toolchain])
        .output()
        .with_context(|| format!("cannot run rustup; install the target with: {command}"))?;
    ensure!(
        output.status.success(),
        "`{command}` failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
