//! What wit-bindgen makes of `wit/`. The contract's types are used throughout the crate under [`types`] and
//! [`sessions`]; there is no second copy of them.
#![allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]

#[cfg(not(feature = "command"))]
wit_bindgen::generate!({
    path: "../wit",
    world: "plugin",
    generate_all,
    additional_derives: [PartialEq],
    // This holds a resource, which cannot be compared.
    additional_derives_ignore: ["stream-error"],
});

#[cfg(feature = "command")]
wit_bindgen::generate!({
    path: "../wit",
    world: "command",
    generate_all,
    additional_derives: [PartialEq],
    // This holds a resource, which cannot be compared.
    additional_derives_ignore: ["stream-error"],
});

pub use exports::consul::session::{sessions, types};
