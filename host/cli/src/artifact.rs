//! `consul-session component`: the component itself, for other hosts.

use crate::args::Artifact;
use crate::output;
use consul_session::Runtime;
use std::io::{ErrorKind, IsTerminal, Write};
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
        write_whole(file, bytes)
    };
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&format!("cannot write {}: {error}", file.display()));
            output::FAILURE
        }
    }
}

/// Writes all of the file or nothing, where that is possible.
fn write_whole(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    // A device, a pipe, or a link to what does not exist.
    if file.exists() && !file.is_file() || file.is_symlink() && !file.exists() {
        return std::fs::write(file, bytes);
    }
    match replace(file, bytes) {
        // In a folder that may not be written to, or on a mounted file, only the contents can be replaced.
        Err(why)
            if file.exists()
                && matches!(
                    why.kind(),
                    ErrorKind::PermissionDenied
                        | ErrorKind::ReadOnlyFilesystem
                        | ErrorKind::ResourceBusy
                        | ErrorKind::CrossesDevices
                ) =>
        {
            std::fs::write(file, bytes)
        }
        replaced => replaced,
    }
}

/// Writes a new file beside, and moves it to its place.
fn replace(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    // The file that a link means.
    let target = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let folder = target.parent().filter(|folder| *folder != Path::new(""));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".consul-session");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As for any new file: the umask takes its part.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut temporary = builder.tempfile_in(folder.unwrap_or(Path::new(".")))?;
    if target.exists() {
        // Fails as writing to it would.
        drop(std::fs::OpenOptions::new().write(true).open(&target)?);
        temporary
            .as_file()
            .set_permissions(std::fs::metadata(&target)?.permissions())?;
    }
    temporary.write_all(bytes)?;
    temporary.persist(target)?;
    Ok(())
}
