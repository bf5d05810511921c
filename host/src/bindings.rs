//! What wasmtime's bindgen makes of the exports in `wit/`. The imports are linked from the crates that implement them.
#![allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]

wasmtime::component::bindgen!({
    path: "../wit",
    inline: "
        package consul:host;
        world exports {
            export consul:session/types@0.1.0;
            export consul:session/sessions@0.1.0;
            export consul:session/action@0.1.0;
        }
    ",
    world: "consul:host/exports",
    exports: { default: async },
    additional_derives: [PartialEq],
});

pub(crate) use exports::consul::session::{sessions, types};
