//! Checks of the repository itself: vendored files, examples, and lists in the documentation. cargo-deny checks
//! licenses and duplicate dependencies; see `.ci/run`.

use consul_session_core::ErrorKind;
use consul_session_core::settings::ConnectionSettings;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(workspace().join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Copies everything that cargo needs to build the workspace.
pub(crate) fn copy_workspace(to: &Path) {
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
        copy_all(&workspace().join(part), &to.join(part));
    }
}

/// Copies a file or directory, except for what `npm install` and packaging leave behind.
fn copy_all(from: &Path, to: &Path) {
    if from.is_dir() {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let name = entry.unwrap().file_name();
            if name != "node_modules" && name != "artifacts" {
                copy_all(&from.join(&name), &to.join(&name));
            }
        }
    } else {
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    }
}

#[test]
fn vendored_wit_differs_from_the_release_in_one_line() {
    // This line is the only change to the released files; see wit/deps/README.md. The checksum covers all of them.
    let types = read("wit/deps/http/types.wit");
    assert_eq!(types.matches("  type duration = u64;\n").count(), 1);
    let mut files: Vec<PathBuf> = Vec::new();
    for package in std::fs::read_dir(workspace().join("wit/deps")).unwrap() {
        let package = package.unwrap().path();
        if package.is_dir() {
            files.extend(
                std::fs::read_dir(package)
                    .unwrap()
                    .map(|file| file.unwrap().path()),
            );
        }
    }
    files.sort();
    let mut sum: u64 = 0xcbf2_9ce4_8422_2325;
    for file in &files {
        for byte in std::fs::read(file).unwrap() {
            sum = (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
    assert_eq!(
        (files.len(), format!("{sum:016x}")),
        (VENDORED_FILES, VENDORED_SUM.to_owned())
    );
}

/// FNV-1a hash of wit/deps/*/*.wit, concatenated in the order of their paths.
const VENDORED_SUM: &str = "839ce7a0ce7dee40";
const VENDORED_FILES: usize = 33;

#[test]
fn docs_list_every_parameter_and_error_kind() {
    let parameters = read("docs/parameters.md");
    let known = consul_session_guest::action::PARAMETERS;
    for parameter in known.iter().chain(&ConnectionSettings::PARAMETERS) {
        assert!(
            parameters.contains(&format!("`{parameter}`")),
            "{parameter}"
        );
    }
    let errors = read("docs/errors.md");
    for kind in ErrorKind::ALL {
        let kind = kind.as_str();
        assert!(errors.contains(&format!("| `{kind}` |")), "{kind}");
    }
}

#[test]
fn examples_run_and_stay_short() {
    // The Ansible module is exempt: it contains its documentation.
    for folder in [
        "host/examples",
        "integrations/python",
        "integrations/javascript",
    ] {
        let folder = Path::new(folder);
        for entry in std::fs::read_dir(workspace().join(folder)).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            let path = path.to_str().unwrap();
            if [".rs", ".py", ".mjs"].iter().any(|end| path.ends_with(end)) {
                let lines = read(path).lines().count();
                assert!(lines < 80, "{path} has {lines} lines");
            }
        }
    }
    for example in ["embed", "tenants", "test_your_plugin"] {
        // `cargo test` builds the examples along with the tests.
        let mut program = std::env::current_exe().unwrap();
        program.pop();
        program.pop();
        program.push(format!("examples/{example}"));
        let output = Command::new(&program)
            .env_remove("CONSUL_HTTP_ADDR")
            .output();
        let output = output.unwrap_or_else(|error| {
            panic!(
                "cannot run {}: {error}; build it with `cargo build --examples`",
                program.display()
            )
        });
        assert!(
            output.status.success(),
            "{example}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// The table on the first page of a crate's documentation must list all of its files.
#[test]
fn module_tables_list_every_file() {
    let host = read("host/src/lib.rs");
    for folder in [
        "",
        "client",
        "component",
        "network",
        "policy",
        "runtime",
        "runtime/embedded",
        "runtime/wasi_http",
    ] {
        let path = Path::new("host/src").join(folder);
        for entry in std::fs::read_dir(workspace().join(&path)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let file = if folder.is_empty() {
                name.clone()
            } else {
                format!("{folder}/{name}")
            };
            let beginning = matches!(file.as_str(), "lib.rs" | "main.rs");
            if name.ends_with(".rs") && !beginning {
                assert!(
                    host.contains(&format!("`{file}`")),
                    "{file} is not in host/src/lib.rs"
                );
            }
        }
    }
    let guest = read("guest/src/lib.rs");
    for entry in std::fs::read_dir(workspace().join("guest/src")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let name = name.trim_end_matches(".rs");
        assert!(
            matches!(name, "lib" | "bindings") || guest.contains(&format!("`{name}`")),
            "{name} is not in guest/src/lib.rs"
        );
    }
}

/// The table of docs/security.md names tests that exist.
#[test]
fn claims_name_tests_that_exist() {
    let page = read("docs/security.md");
    let names = page.split('`').filter_map(|code| code.split_once("::"));
    let mut count = 0;
    for (module, name) in
        names.filter(|(module, _)| module.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    {
        let source = read(&format!("tests/it/{module}.rs"));
        assert!(source.contains(&format!("fn {name}(")), "{module}::{name}");
        count += 1;
    }
    assert!(count > 30, "{count}");
}
