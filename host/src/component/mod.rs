//! The component's exports, and the types of the WIT package that they take and return.
//!
//! The types mirror `wit/` field by field; wasmtime checks them against the component when a function is called. They
//! stay private: public types use durations instead of nanoseconds, and can grow.

pub(crate) mod locks;
pub(crate) mod steps;
pub(crate) mod types;

use std::fmt;
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
    Acquire,
    Release,
    Holder,
    Write,
    Delete,
    Join,
    Try,
    Leave,
    Places,
}

impl Operation {
    const ALL: [Operation; 18] = [
        Operation::Create,
        Operation::Destroy,
        Operation::Info,
        Operation::Node,
        Operation::List,
        Operation::Renew,
        Operation::Ensure,
        Operation::Remove,
        Operation::Action,
        Operation::Acquire,
        Operation::Release,
        Operation::Holder,
        Operation::Write,
        Operation::Delete,
        Operation::Join,
        Operation::Try,
        Operation::Leave,
        Operation::Places,
    ];

    /// Whether it belongs to the interface `locks`, which components before version 0.2 of the package lack.
    fn is_on_locks(self) -> bool {
        self as usize >= Operation::Acquire as usize
    }

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
            Operation::Acquire => "acquire",
            Operation::Release => "release",
            Operation::Holder => "holder",
            Operation::Write => "write",
            Operation::Delete => "delete",
            Operation::Join => "join",
            Operation::Try => "try",
            Operation::Leave => "leave",
            Operation::Places => "places",
        }
    }
}

/// A function for every operation that a component has, looked up once.
pub(crate) struct Functions(Vec<Option<ComponentExportIndex>>);

/// A component lacks an operation.
#[derive(Debug)]
pub(crate) struct Lacks(Operation);

impl fmt::Display for Lacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.name();
        write!(
            f,
            "this component lacks the operation `{name}`, which newer versions of consul:session have"
        )
    }
}

impl std::error::Error for Lacks {}

impl Functions {
    pub(crate) fn of(&self, operation: Operation) -> wasmtime::Result<&ComponentExportIndex> {
        let function = self.0[operation as usize].as_ref();
        function.ok_or_else(|| wasmtime::Error::new(Lacks(operation)))
    }

    /// Looks up the function of every operation, or returns the name of one that is missing. Those on locks are optional.
    fn find(
        component: &Component,
        place: impl Fn(Operation) -> (&'static str, &'static str),
    ) -> Result<Functions, String> {
        let functions = Operation::ALL.into_iter().map(|operation| {
            let (interface, name) = place(operation);
            match find(component, interface, name) {
                Err(_) if operation.is_on_locks() => Ok(None),
                found => found.map(Some),
            }
        });
        Ok(Functions(functions.collect::<Result<_, _>>()?))
    }
}

fn find(
    component: &Component,
    interface: &str,
    name: &str,
) -> Result<ComponentExportIndex, String> {
    let find = |version: &str| {
        let interface = format!("consul:session/{interface}@{version}");
        let interface = component.get_export_index(None, &interface)?;
        component.get_export_index(Some(&interface), name)
    };
    VERSIONS
        .into_iter()
        .find_map(find)
        .ok_or_else(|| format!("consul:session/{interface}@{}.{name}", VERSIONS[0]))
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
            start: Functions::find(component, |operation| {
                let locks = operation.is_on_locks();
                (
                    if locks { "start-locks" } else { "start" },
                    operation.name(),
                )
            })?,
            resume: find(component, STEPS, "resume")?,
            finish: Functions::find(component, |operation| {
                let locks = operation.is_on_locks();
                (
                    if locks { "finish-locks" } else { "finish" },
                    operation.name(),
                )
            })?,
        })
    }
}

/// The functions of the world `plugin`, which return when the operation is complete.
pub(crate) fn plugin_exports(component: &Component) -> Result<Functions, String> {
    Functions::find(component, |operation| match operation {
        Operation::Action => ("action", "run"),
        _ if operation.is_on_locks() => ("locks", operation.name()),
        _ => ("sessions", operation.name()),
    })
}

const STEPS: &str = "steps";

/// The versions of the package that this host runs, the newest first.
const VERSIONS: [&str; 2] = ["0.2.0", "0.1.0"];
