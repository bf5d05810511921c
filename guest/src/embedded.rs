//! The exports of the world `embedded`: each operation begins in `start`, goes on with `resume`, and ends in `finish`.

use crate::bindings::exports::consul::session::{finish, start, steps};
use crate::operations;
use crate::perform;
use crate::steps::{Handover, Operation, Step};
use crate::types::{Agent, Ensured, Error, Listing, NewSession, OnDifference, Session};
use std::cell::RefCell;
use steps::{Request, TransportError};

/// The type that implements the exports.
struct Component;

crate::bindings::export!(Component with_types_in crate::bindings);

/// The operation of this instance.
enum State {
    /// None, or its result was returned.
    Idle,
    /// It needs a response.
    Waiting(Operation<Finished>),
    /// It is complete.
    Finished(Finished),
}

thread_local! {
    static STATE: RefCell<State> = const { RefCell::new(State::Idle) };
}

/// The result of an operation.
enum Finished {
    Create(Result<String, Error>),
    Destroy(Result<(), Error>),
    Info(Result<Option<Session>, Error>),
    Node(Result<Listing, Error>),
    List(Result<Listing, Error>),
    Renew(Result<Session, Error>),
    Ensure(Result<Ensured, Error>),
    Remove(Result<Vec<String>, Error>),
    Action(Result<String, String>),
}

/// Begins an operation. Drops the one that was under way.
fn begin<F>(operation: impl FnOnce(Handover) -> F) -> Option<Request>
where
    F: Future<Output = Finished> + 'static,
{
    STATE.set(State::Idle);
    advance(Operation::new(operation), None)
}

fn advance(
    mut operation: Operation<Finished>,
    response: Option<Result<steps::Response, TransportError>>,
) -> Option<Request> {
    let response = response.map(|response| response.map(Into::into).map_err(Into::into));
    let (state, request) = match operation.step(response) {
        Step::Request(request) => (State::Waiting(operation), Some(request)),
        Step::Done(result) => (State::Finished(result), None),
    };
    STATE.set(state);
    request
}

/// The result of the complete operation.
fn finished() -> Finished {
    match STATE.replace(State::Idle) {
        State::Finished(result) => result,
        State::Idle | State::Waiting(_) => out_of_order(),
    }
}

/// Traps, because the host called a function out of order.
fn out_of_order() -> ! {
    std::process::abort()
}

impl steps::Guest for Component {
    fn resume(response: Result<steps::Response, TransportError>) -> Option<Request> {
        match STATE.replace(State::Idle) {
            State::Waiting(operation) => advance(operation, Some(response)),
            State::Idle | State::Finished(_) => out_of_order(),
        }
    }
}

impl start::Guest for Component {
    fn create(agent: Agent, session: NewSession) -> Option<Request> {
        begin(async move |via| Finished::Create(operations::create(&agent, &session, via).await))
    }

    fn destroy(agent: Agent, id: String) -> Option<Request> {
        begin(async move |via| Finished::Destroy(operations::destroy(&agent, &id, via).await))
    }

    fn info(agent: Agent, id: String) -> Option<Request> {
        begin(async move |via| Finished::Info(operations::info(&agent, &id, via).await))
    }

    fn node(agent: Agent, name: String) -> Option<Request> {
        begin(async move |via| Finished::Node(operations::node(&agent, &name, via).await))
    }

    fn list(agent: Agent) -> Option<Request> {
        begin(async move |via| Finished::List(operations::list(&agent, via).await))
    }

    fn renew(agent: Agent, id: String) -> Option<Request> {
        begin(async move |via| Finished::Renew(operations::renew(&agent, &id, via).await))
    }

    fn ensure(agent: Agent, session: NewSession, on_difference: OnDifference) -> Option<Request> {
        begin(async move |via| {
            Finished::Ensure(operations::ensure(&agent, &session, on_difference, via).await)
        })
    }

    fn remove(agent: Agent, name: String, node: Option<String>) -> Option<Request> {
        begin(async move |via| {
            Finished::Remove(operations::remove(&agent, &name, node.as_deref(), via).await)
        })
    }

    fn action(params: String) -> Option<Request> {
        begin(async move |via| Finished::Action(perform::run_json(&params, via).await))
    }
}

impl finish::Guest for Component {
    fn create() -> Result<String, Error> {
        match finished() {
            Finished::Create(result) => result,
            _ => out_of_order(),
        }
    }

    fn destroy() -> Result<(), Error> {
        match finished() {
            Finished::Destroy(result) => result,
            _ => out_of_order(),
        }
    }

    fn info() -> Result<Option<Session>, Error> {
        match finished() {
            Finished::Info(result) => result,
            _ => out_of_order(),
        }
    }

    fn node() -> Result<Listing, Error> {
        match finished() {
            Finished::Node(result) => result,
            _ => out_of_order(),
        }
    }

    fn list() -> Result<Listing, Error> {
        match finished() {
            Finished::List(result) => result,
            _ => out_of_order(),
        }
    }

    fn renew() -> Result<Session, Error> {
        match finished() {
            Finished::Renew(result) => result,
            _ => out_of_order(),
        }
    }

    fn ensure() -> Result<Ensured, Error> {
        match finished() {
            Finished::Ensure(result) => result,
            _ => out_of_order(),
        }
    }

    fn remove() -> Result<Vec<String>, Error> {
        match finished() {
            Finished::Remove(result) => result,
            _ => out_of_order(),
        }
    }

    fn action() -> Result<String, String> {
        match finished() {
            Finished::Action(result) => result,
            _ => out_of_order(),
        }
    }
}
