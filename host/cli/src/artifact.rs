//! `consul-session component`: the component itself, for other hosts.

use crate::args::Artifact;
use crate::output;
use consul_session::Runtime;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

/// Writes an artifact to a file, or to standard output for `-`.
pub(crate) fn write(artifact: Artifact, file: &Path) -> ExitCode {
    let bytes = match artifact {
        Artifact::Embedded => Runtime::embedded(),
        Artifact::Plugin => Runtime::plugin(),
        Artifact::Command => Runtime::command(),
    };
    if bytes.is_empty() {
        output::error(
            "this build does not contain this component; build it without CONSUL_SESSION_COMPONENT",
        );
        return output::FAILURE;
    }
    let written = if file == Path::new("-") {
        let mut out = std::io::stdout();
        if out.is_terminal() {
            output::error("refusing to write a binary to a terminal; redirect it, or use -o FILE");
            return output::USAGE_ERROR.into();
        }
        out.write_all(bytes).and_then(|()| out.flush())
    } else {
        std::fs::write(file, bytes)
    };
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&format!("cannot write {}: {error}", file.display()));
            output::FAILURE
        }
    }
}
