//! The types of the interface `lock-types` in `wit/locks.wit`.

use wasmtime::component::{ComponentType, Lift, Lower};

#[derive(Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub(crate) struct Wait {
    pub(crate) index: u64,
    #[component(name = "at-most")]
    pub(crate) at_most: u64,
}

#[derive(Clone, ComponentType, Lower)]
#[component(record)]
pub(crate) struct Lock {
    pub(crate) key: String,
    pub(crate) session: String,
}

#[derive(Clone, ComponentType, Lower)]
#[component(record)]
pub(crate) struct Place {
    pub(crate) prefix: String,
    pub(crate) session: String,
}

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum Outcome {
    #[component(name = "held")]
    Held(u64),
    #[component(name = "occupied")]
    Occupied(Vec<String>),
    #[component(name = "delayed")]
    Delayed,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Attempt {
    pub(crate) outcome: Outcome,
    pub(crate) index: u64,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Holding {
    pub(crate) session: Option<String>,
    pub(crate) value: Vec<u8>,
    pub(crate) flags: u64,
    #[component(name = "modify-index")]
    pub(crate) modify_index: u64,
    pub(crate) index: u64,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Membership {
    pub(crate) sessions: Vec<String>,
    pub(crate) limit: Option<u32>,
    pub(crate) index: u64,
}
