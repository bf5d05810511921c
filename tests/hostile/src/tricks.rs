//! The tricks, by name. The tests include this file, too, where a trick that no test plays does not compile.

macro_rules! tricks {
    ($($(#[$documentation:meta])* $trick:ident,)*) => {
        /// What a hostile component tries.
        #[deny(dead_code)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Trick {
            $($(#[$documentation])* $trick,)*
        }

        impl Trick {
            /// The name of the trick in the parameters of a call.
            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Trick::$trick => stringify!($trick),)*
                }
            }

            /// The trick of this name.
            #[cfg(target_arch = "wasm32")]
            pub(crate) fn named(name: &str) -> Option<Trick> {
                [$(Trick::$trick),*].into_iter().find(|trick| trick.name() == name)
            }
        }
    };
}

tricks! {
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
    /// Sends headers of so many names that a map of them is full.
    HeaderNames,
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
    /// Computes for most of a tick between requests, for ever.
    SpinSteps,
    /// Sends a token of its own.
    Token,
    /// Aborts.
    Trap,
    /// Sends requests that never end.
    Unfinished,
    /// Writes, and aborts.
    Write,
}
