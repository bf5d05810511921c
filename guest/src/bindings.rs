//! The bindings that wit-bindgen generates from `wit/`. The crate uses their types throughout, under [`types`].
#![allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]

#[cfg(not(feature = "plugin"))]
wit_bindgen::generate!({
    path: "../wit",
    world: "embedded",
    additional_derives: [PartialEq],
});

#[cfg(all(feature = "plugin", not(feature = "command")))]
wit_bindgen::generate!({
    path: "../wit",
    world: "plugin",
    generate_all,
    additional_derives: [PartialEq],
    // Contains a resource, which cannot be compared.
    additional_derives_ignore: ["stream-error"],
});

#[cfg(feature = "command")]
wit_bindgen::generate!({
    path: "../wit",
    world: "command",
    generate_all,
    additional_derives: [PartialEq],
    // Contains a resource, which cannot be compared.
    additional_derives_ignore: ["stream-error"],
});

pub use exports::consul::session::{lock_types, types};
