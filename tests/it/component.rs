//! The components as distributed. Their imports prove what they can do: the embedded one nothing at all, and the plugin
//! nothing but HTTP. Anyone can check them, as these tests do.

use consul_session_tests::program::Program;
use std::collections::BTreeMap;
use std::fs;
use tempfile::TempDir;
use wasmparser::{Encoding, Parser, Payload, Validator};

/// Maximum size of the plugin in bytes: users download, audit and compile it.
const MAX_SIZE: usize = 440_000;
/// Maximum size of the embedded component, which is compiled for speed.
const MAX_EMBEDDED_SIZE: usize = 620_000;

fn component() -> Vec<u8> {
    artifact("plugin")
}

fn artifact(name: &str) -> Vec<u8> {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("component.wasm");
    let run = Program::new(["component", name, "-o", file.to_str().unwrap()]).run();
    assert_eq!(
        (run.code, run.stdout.as_str(), run.stderr.as_str()),
        (0, "", "")
    );
    fs::read(file).unwrap()
}

/// Registries and auditors read this metadata without running the component.
#[test]
fn components_contain_metadata() {
    for name in ["embedded", "plugin", "command"] {
        let component = artifact(name);
        let mut said = BTreeMap::new();
        let mut depth = 0;
        for payload in Parser::new(0).parse_all(&component) {
            match payload.unwrap() {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth -= 1,
                Payload::CustomSection(section) if depth == 0 => {
                    let text = String::from_utf8_lossy(section.data()).into_owned();
                    said.insert(section.name().to_owned(), text);
                }
                _ => {}
            }
        }
        assert!(said["component-name"].contains("consul-session"));
        assert_eq!(said["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(said["licenses"], env!("CARGO_PKG_LICENSE"));
        // Tools reject all metadata of a component if its source is not a URL.
        assert!(
            said["source"].starts_with("pkg:cargo/"),
            "{}",
            said["source"]
        );
    }
}

/// The names of a component's imports and exports.
#[derive(Debug, Default)]
struct Surface {
    imports: Vec<String>,
    exports: Vec<String>,
}

fn surface(component: &[u8]) -> Surface {
    let mut surface = Surface::default();
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(component) {
        match payload.unwrap() {
            Payload::Version { encoding, .. } if depth == 0 => {
                assert_eq!(encoding, Encoding::Component)
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 0 => {
                let names = section
                    .into_iter()
                    .map(|import| import.unwrap().name.name.to_owned());
                surface.imports.extend(names);
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                let names = section
                    .into_iter()
                    .map(|export| export.unwrap().name.name.to_owned());
                surface.exports.extend(names);
            }
            _ => {}
        }
    }
    surface
}

/// Returns the reasons why a component breaks the guarantee.
fn objections(component: &[u8]) -> Vec<String> {
    let surface = surface(component);
    let mut objections = Vec::new();
    if component.len() > MAX_SIZE {
        objections.push(format!("{} bytes", component.len()));
    }
    for import in &surface.imports {
        if !import.starts_with("wasi:http/") && !import.starts_with("wasi:io/") {
            objections.push(format!("imports {import}"));
        }
    }
    for needed in ["types", "sessions", "locks", "action"] {
        let name = format!("consul:session/{needed}@");
        if !surface
            .exports
            .iter()
            .any(|export| export.starts_with(&name))
        {
            objections.push(format!("does not export {name}"));
        }
    }
    objections
}

fn is_valid(component: &[u8]) -> bool {
    Validator::new().validate_all(component).is_ok()
}

#[test]
fn component_imports_only_http() {
    let component = component();
    assert!(is_valid(&component));
    assert_eq!(objections(&component), Vec::<String>::new());
    let surface = surface(&component);
    assert!(
        surface
            .imports
            .iter()
            .any(|import| import.starts_with("wasi:http/outgoing-handler@0.2")),
        "{surface:?}"
    );
}

#[test]
fn embedded_component_imports_nothing() {
    let embedded = artifact("embedded");
    assert!(is_valid(&embedded));
    assert!(
        embedded.len() <= MAX_EMBEDDED_SIZE,
        "{} bytes",
        embedded.len()
    );
    let surface = surface(&embedded);
    assert_eq!(surface.imports, Vec::<String>::new());
    for needed in [
        "types",
        "steps",
        "start",
        "finish",
        "start-locks",
        "finish-locks",
    ] {
        let name = format!("consul:session/{needed}@");
        assert!(
            surface
                .exports
                .iter()
                .any(|export| export.starts_with(&name)),
            "{surface:?}"
        );
    }
}

/// Checks that `component_imports_only_http` can fail.
#[test]
fn other_imports_and_missing_exports_are_detected() {
    let component = component();
    let with = |name: &str, other: &str| {
        assert_eq!(name.len(), other.len());
        let (name, other) = (name.as_bytes(), other.as_bytes());
        let mut changed = component.clone();
        for place in 0..changed.len() - name.len() {
            if changed[place..].starts_with(name) {
                changed[place..place + name.len()].copy_from_slice(other);
            }
        }
        assert_ne!(changed, component);
        assert!(is_valid(&changed));
        objections(&changed)
    };
    let more = with("wasi:io/poll@", "wasi:fs/poll@");
    assert!(
        more.len() == 1 && more[0].starts_with("imports wasi:fs/poll@"),
        "{more:?}"
    );
    let less = with("consul:session/action@", "consul:session/attack@");
    assert!(
        less.len() == 1 && less[0].contains("consul:session/action@"),
        "{less:?}"
    );
    let long = [component.clone(), vec![0; MAX_SIZE]].concat();
    assert!(!is_valid(&long));
}

/// The command also reads arguments, environment variables and standard input, but cannot use files or sockets.
#[test]
fn command_imports_no_files_or_sockets() {
    let command = artifact("command");
    assert!(is_valid(&command));
    let surface = surface(&command);
    for import in &surface.imports {
        // `HashMap` in Rust's standard library needs the seed.
        let known = [
            "wasi:http/",
            "wasi:io/",
            "wasi:cli/",
            "wasi:random/insecure-seed@",
        ];
        assert!(
            known.iter().any(|package| import.starts_with(package)),
            "imports {import}"
        );
    }
    assert!(
        surface
            .exports
            .iter()
            .any(|export| export.starts_with("wasi:cli/run@0.2")),
        "{surface:?}"
    );
}

#[test]
fn component_can_be_written_to_standard_output() {
    let run = Program::new(["component", "-o", "-"]).output();
    assert!(run.status.success());
    assert_eq!(run.stdout, component());
}

#[test]
fn unwritable_file_is_reported() {
    let run = Program::new(["component", "-o", "/nowhere/plugin.wasm"]).run();
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
    assert!(run.stderr.contains("/nowhere/plugin.wasm"), "{run:#?}");
    assert_eq!(Program::new(["component"]).run().code, 2);
}
