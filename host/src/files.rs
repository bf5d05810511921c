//! Small files: certificates, keys and tokens.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Maximum size of a certificate, key or token file. Also bounds reads from endless devices such as `/dev/zero`.
const MAX: u64 = 4 << 20;

/// Reads a whole file.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX {
        let message = format!("it is larger than {} MiB", MAX >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}
