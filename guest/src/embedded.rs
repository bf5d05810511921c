//! The exports of the world `embedded`: each operation begins in `start`, goes on with `resume`, and ends in `finish`.

use crate::bindings::exports::consul::session::{finish, finish_locks, start, start_locks, steps};
use crate::lock_types::{Attempt, Holding, Lock, Membership, Place, Wait};
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

/// Declares the results of operations, and a function of `finish` for each.
macro_rules! finish {
    ($($interface:path { $($name:ident $case:ident $result:ty,)* })*) => {
        /// The result of an operation.
        enum Finished {
            $($($case($result),)*)*
        }

        $(impl $interface for Component {
            $(fn $name() -> $result {
                match finished() {
                    Finished::$case(result) => result,
                    _ => out_of_order(),
                }
            })*
        })*
    };
}

finish! {
    finish::Guest {
        create Create Result<String, Error>,
        destroy Destroy Result<(), Error>,
        info Info Result<Option<Session>, Error>,
        node Node Result<Listing, Error>,
        list List Result<Listing, Error>,
        renew Renew Result<Session, Error>,
        ensure Ensure Result<Ensured, Error>,
        remove Remove Result<Vec<String>, Error>,
        action Action Result<String, String>,
    }
    finish_locks::Guest {
        acquire Acquire Result<Attempt, Error>,
        release Release Result<bool, Error>,
        holder Holder Result<Holding, Error>,
        write Write Result<u64, Error>,
        delete Delete Result<(), Error>,
        join Join Result<(), Error>,
        try_ Try Result<Attempt, Error>,
        leave Leave Result<(), Error>,
        places Places Result<Membership, Error>,
    }
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

impl start_locks::Guest for Component {
    fn acquire(agent: Agent, lock: Lock, value: Vec<u8>, wait: Option<Wait>) -> Option<Request> {
        begin(async move |via| {
            Finished::Acquire(operations::acquire(&agent, &lock, &value, wait.as_ref(), via).await)
        })
    }

    fn release(agent: Agent, lock: Lock, delete_key: bool) -> Option<Request> {
        begin(async move |via| {
            Finished::Release(operations::release(&agent, &lock, delete_key, via).await)
        })
    }

    fn holder(agent: Agent, key: String, wait: Option<Wait>) -> Option<Request> {
        begin(async move |via| {
            Finished::Holder(operations::holder(&agent, &key, wait.as_ref(), via).await)
        })
    }

    fn write(agent: Agent, lock: Lock, key: String, value: Vec<u8>) -> Option<Request> {
        begin(async move |via| {
            Finished::Write(operations::write(&agent, &lock, &key, &value, via).await)
        })
    }

    fn delete(agent: Agent, lock: Lock, key: String) -> Option<Request> {
        begin(async move |via| Finished::Delete(operations::delete(&agent, &lock, &key, via).await))
    }

    fn join(agent: Agent, place: Place, value: Vec<u8>) -> Option<Request> {
        begin(async move |via| Finished::Join(operations::join(&agent, &place, &value, via).await))
    }

    fn try_(agent: Agent, place: Place, limit: u32, wait: Option<Wait>) -> Option<Request> {
        begin(async move |via| {
            Finished::Try(operations::take_place(&agent, &place, limit, wait.as_ref(), via).await)
        })
    }

    fn leave(agent: Agent, place: Place) -> Option<Request> {
        begin(async move |via| Finished::Leave(operations::leave(&agent, &place, via).await))
    }

    fn places(agent: Agent, prefix: String, wait: Option<Wait>) -> Option<Request> {
        begin(async move |via| {
            Finished::Places(operations::places(&agent, &prefix, wait.as_ref(), via).await)
        })
    }
}
