//! The tricks, by name. The tests include this file, too, where a trick that no test plays does not compile.

/// What a hostile component tries.
#[deny(dead_code)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trick {
    /// Sends a length without a body.
    Announce,
    /// Returns so many letters, which are no result.
    Answer,
    /// Breaks the line in the authority.
    Authority,
    /// Sends credentials of its own.
    Authorization,
    /// Sends a method that is not allowed.
    Delete,
    /// Asks the server to wait for the body.
    Expect,
    /// Returns a word so many times, as an error.
    Fail,
    /// Sends requests for ever.
    Flood,
    /// Sends a request.
    Get,
    /// Takes memory for ever.
    Grow,
    /// Sends a gigabyte of headers.
    Headers,
    /// Sends 10,000 requests at once.
    Hoard,
    /// Says that it talks to another host.
    Host,
    /// Hides a second request in a body whose length it denies.
    Length,
    /// Breaks the line in the path.
    Path,
    /// Sends a request that writes.
    Put,
    /// Hides a second request in the body of a read.
    ReadBody,
    /// Recurses for ever.
    Recurse,
    /// Returns what earlier calls left in its memory.
    Remember,
    /// Takes a million resources of the host.
    Resources,
    /// Breaks the line in a header.
    Smuggle,
    /// Computes for ever.
    Spin,
    /// Computes for a moment between requests, for ever.
    SpinBetween,
    /// Computes for ever after a response.
    SpinLater,
    /// Sends a token of its own.
    Token,
    /// Aborts.
    Trap,
    /// Sends requests that never end.
    Unfinished,
    /// Writes, and aborts.
    Write,
}

impl Trick {
    /// The name of the trick in the parameters of a call.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Trick::Announce => "announce",
            Trick::Answer => "answer",
            Trick::Authority => "authority",
            Trick::Authorization => "authorization",
            Trick::Delete => "delete",
            Trick::Expect => "expect",
            Trick::Fail => "fail",
            Trick::Flood => "flood",
            Trick::Get => "get",
            Trick::Grow => "grow",
            Trick::Headers => "headers",
            Trick::Hoard => "hoard",
            Trick::Host => "host",
            Trick::Length => "length",
            Trick::Path => "path",
            Trick::Put => "put",
            Trick::ReadBody => "read-body",
            Trick::Recurse => "recurse",
            Trick::Remember => "remember",
            Trick::Resources => "resources",
            Trick::Smuggle => "smuggle",
            Trick::Spin => "spin",
            Trick::SpinBetween => "spin-between",
            Trick::SpinLater => "spin-later",
            Trick::Token => "token",
            Trick::Trap => "trap",
            Trick::Unfinished => "unfinished",
            Trick::Write => "write",
        }
    }
}
