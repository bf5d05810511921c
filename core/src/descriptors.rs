//! File descriptors, of which a process may open only so many.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};

/// The error if the process cannot open so many more descriptors.
pub fn lack(count: usize) -> Option<io::Error> {
    let sockets: Vec<_> = (0..count)
        .map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect();
    // A machine without this address lacks no descriptors.
    let mut errors = sockets.into_iter().filter_map(Result::err);
    errors.find(is_lack)
}

/// Whether an error says that the process, or the machine, has no descriptor left: `EMFILE`, `ENFILE`, or `WSAEMFILE` on
/// Windows.
pub fn is_lack(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24 | 10024))
}
