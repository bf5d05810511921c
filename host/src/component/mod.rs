//! The component's exports, and the types of the WIT package that they take and return.
//!
//! The types mirror `wit/` field by field; wasmtime checks them against the component when a function is called. They
//! stay private: public types use durations instead of nanoseconds, and can grow.

pub(crate) mod steps;
pub(crate) mod types;

use wasmtime::component::{
    Component, ComponentExportIndex, ComponentNamedList, ComponentType, Lift, Lower,
};

/// The parameters of an exported function, as a tuple.
pub(crate) trait Parameters: ComponentNamedList + Lower + Send + Sync + 'static {}

impl<P: ComponentNamedList + Lower + Send + Sync + 'static> Parameters for P {}

/// What an exported function returns.
pub(crate) trait Returned: ComponentType + Lift + Send + Sync + 'static {}

impl<T: ComponentType + Lift + Send + Sync + 'static> Returned for T {}

/// The operations that a component exports.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    Create,
    Destroy,
    Info,
    Node,
    List,
    Renew,
    Ensure,
    Remove,
    Action,
}

impl Operation {
    const ALL: [Operation; 9] = [
        Operation::Create,
        Operation::Destroy,
        Operation::Info,
        Operation::Node,
        Operation::List,
        Operation::Renew,
        Operation::Ensure,
        Operation::Remove,
        Operation::Action,
    ];

    /// The name of its functions in `start` and `finish`.
    fn name(self) -> &'static str {
        match self {
            Operation::Create => "create",
            Operation::Destroy => "destroy",
            Operation::Info => "info",
            Operation::Node => "node",
            Operation::List => "list",
            Operation::Renew => "renew",
            Operation::Ensure => "ensure",
            Operation::Remove => "remove",
            Operation::Action => "action",
        }
    }
}

/// A function for every operation, looked up once.
pub(crate) struct Functions(Vec<ComponentExportIndex>);

impl Functions {
    pub(crate) fn of(&self, operation: Operation) -> &ComponentExportIndex {
        &self.0[operation as usize]
    }

    /// Looks up the function of every operation, or returns the name of one that is missing.
    fn find(
        component: &Component,
        place: impl Fn(Operation) -> (&'static str, &'static str),
    ) -> Result<Functions, String> {
        let functions = Operation::ALL.into_iter().map(|operation| {
            let (interface, name) = place(operation);
            find(component, interface, name)
        });
        Ok(Functions(functions.collect::<Result<_, _>>()?))
    }
}

fn find(
    component: &Component,
    interface: &str,
    name: &str,
) -> Result<ComponentExportIndex, String> {
    component
        .get_export_index(None, interface)
        .and_then(|interface| component.get_export_index(Some(&interface), name))
        .ok_or_else(|| format!("{interface}.{name}"))
}

/// The exports of the world `embedded`.
pub(crate) struct StepExports {
    pub(crate) start: Functions,
    pub(crate) resume: ComponentExportIndex,
    pub(crate) finish: Functions,
}

impl StepExports {
    /// Whether a component has the world `embedded`.
    pub(crate) fn are_in(component: &Component) -> bool {
        find(component, STEPS, "resume").is_ok()
    }

    /// Looks up every function, or returns the name of one that is missing.
    pub(crate) fn of(component: &Component) -> Result<StepExports, String> {
        Ok(StepExports {
            start: Functions::find(component, |operation| (START, operation.name()))?,
            resume: find(component, STEPS, "resume")?,
            finish: Functions::find(component, |operation| (FINISH, operation.name()))?,
        })
    }
}

/// The functions of the world `plugin`, which return when the operation is complete.
pub(crate) fn plugin_exports(component: &Component) -> Result<Functions, String> {
    Functions::find(component, |operation| match operation {
        Operation::Action => (ACTION, "run"),
        _ => (SESSIONS, operation.name()),
    })
}

const STEPS: &str = "consul:session/steps@0.1.0";
const START: &str = "consul:session/start@0.1.0";
const FINISH: &str = "consul:session/finish@0.1.0";
const SESSIONS: &str = "consul:session/sessions@0.1.0";
const ACTION: &str = "consul:session/action@0.1.0";
