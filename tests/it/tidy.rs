//! Keeps the repository honest: vendored files, examples, and what the documentation lists. Licences and duplicate
//! dependencies are checked by cargo-deny, see .ci/run.

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

/// Copies a file or folder, without what `npm install` and packaging leave behind.
pub(crate) fn copy_all(from: &Path, to: &Path) {
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
fn the_vendored_wit_is_the_released_one_except_for_one_line() {
    // The sum covers everything except the one line that wit/deps/README.md explains.
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

/// FNV-1a over wit/deps/*/*.wit in order of their paths.
const VENDORED_SUM: &str = "839ce7a0ce7dee40";
const VENDORED_FILES: usize = 33;

#[test]
fn the_docs_name_every_parameter_and_kind() {
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
    // The Ansible module is longer, because it contains its documentation.
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
        // `cargo test` has built it beside the tests.
        let mut program = std::env::current_exe().unwrap();
        program.pop();
        program.pop();
        program.push(format!("examples/{example}"));
        let output = Command::new(&program)
            .env_remove("CONSUL_HTTP_ADDR")
            .output();
        let output = output.unwrap_or_else(|error| {
            panic!("{}: {error}; cargo build --examples", program.display())
        });
        assert!(
            output.status.success(),
            "{example}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// A reader looks for a file in the table on the first page of the documentation.
#[test]
fn the_tables_of_files_are_whole() {
    let host = read("host/src/lib.rs");
    for folder in ["", "client", "network", "policy", "runtime"] {
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
