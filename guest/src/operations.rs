//! The operations of the interfaces `sessions` and `locks`: each parses its parameters, carries out the exchanges and returns the WIT
//! value of its result.

use crate::consul::{Consul, Sessions};
use crate::ensure;
use crate::lock_types::{Attempt, Holding, Lock, Membership, Place, Wait};
use crate::request::Consistency;
use crate::transport::Transport;
use crate::types::{self, Agent, Ensured, Listing, NewSession, OnDifference, Session};
use consul_session_core::{Error, ErrorKind};

type Result<T> = std::result::Result<T, types::Error>;

/// Creates a session and returns its id.
pub async fn create(agent: &Agent, session: &NewSession, via: impl Transport) -> Result<String> {
    Ok(Consul::new(agent, via)?.create(session).await?)
}

/// Destroys a session.
pub async fn destroy(agent: &Agent, id: &str, via: impl Transport) -> Result<()> {
    Ok(Consul::new(agent, via)?.destroy(id).await?)
}

/// Returns the session with this id.
pub async fn info(agent: &Agent, id: &str, via: impl Transport) -> Result<Option<Session>> {
    let consul = Consul::new(agent, via)?;
    let found = consul.info(id, Consistency::Default).await?;
    Ok(found.sessions.into_iter().next())
}

/// Returns the sessions of a node.
pub async fn node(agent: &Agent, name: &str, via: impl Transport) -> Result<Listing> {
    let consul = Consul::new(agent, via)?;
    Ok(consul.node(name, Consistency::Default).await?.into())
}

/// Returns all sessions.
pub async fn list(agent: &Agent, via: impl Transport) -> Result<Listing> {
    let consul = Consul::new(agent, via)?;
    Ok(consul.list(Consistency::Default).await?.into())
}

/// Renews a session and returns it.
pub async fn renew(agent: &Agent, id: &str, via: impl Transport) -> Result<Session> {
    Ok(Consul::new(agent, via)?.renew(id).await?)
}

/// Makes sure that one session of a name exists.
pub async fn ensure(
    agent: &Agent,
    new: &NewSession,
    on_difference: OnDifference,
    via: impl Transport,
) -> Result<Ensured> {
    let name = match &new.name {
        Some(name) if !name.is_empty() => name,
        _ => return Err(Error::invalid("name", "`ensure` needs a name").into()),
    };
    let consul = Consul::new(agent, via)?;
    let plan = ensure::plan(&consul, name, new, on_difference).await?;
    let ensured = ensure::ensure(&consul, name, new, on_difference, plan).await?;
    Ok(Ensured {
        session: ensured.session.session,
        created: ensured.created,
        replaced: ensured.replaced,
        warnings: ensured.warnings,
    })
}

/// Destroys every session of a name and returns their ids.
pub async fn remove(
    agent: &Agent,
    name: &str,
    node: Option<&str>,
    via: impl Transport,
) -> Result<Vec<String>> {
    if name.is_empty() {
        return Err(Error::invalid("name", "`remove` needs a name").into());
    }
    let removed = ensure::remove(&Consul::new(agent, via)?, name, node).await?;
    Ok(removed
        .into_iter()
        .map(|stored| stored.session.id)
        .collect())
}

/// Acquires a lock if it is free.
pub async fn acquire(
    agent: &Agent,
    lock: &Lock,
    value: &[u8],
    wait: Option<&Wait>,
    via: impl Transport,
) -> Result<Attempt> {
    Ok(Consul::new(agent, via)?.acquire(lock, value, wait).await?)
}

/// Releases a lock.
pub async fn release(
    agent: &Agent,
    lock: &Lock,
    delete_key: bool,
    via: impl Transport,
) -> Result<bool> {
    Ok(Consul::new(agent, via)?.release(lock, delete_key).await?)
}

/// Returns who holds a lock.
pub async fn holder(
    agent: &Agent,
    key: &str,
    wait: Option<&Wait>,
    via: impl Transport,
) -> Result<Holding> {
    Ok(Consul::new(agent, via)?.holder(key, wait).await?)
}

/// Writes a key while a lock is held.
pub async fn write(
    agent: &Agent,
    lock: &Lock,
    key: &str,
    value: &[u8],
    via: impl Transport,
) -> Result<u64> {
    Ok(Consul::new(agent, via)?.write(lock, key, value).await?)
}

/// Deletes a key while a lock is held.
pub async fn delete(agent: &Agent, lock: &Lock, key: &str, via: impl Transport) -> Result<()> {
    Ok(Consul::new(agent, via)?.delete(lock, key).await?)
}

/// Joins those who want a place in a semaphore.
pub async fn join(agent: &Agent, place: &Place, value: &[u8], via: impl Transport) -> Result<()> {
    Ok(Consul::new(agent, via)?.join(place, value).await?)
}

/// Takes a place in a semaphore if one is free.
pub async fn take_place(
    agent: &Agent,
    place: &Place,
    limit: u32,
    wait: Option<&Wait>,
    via: impl Transport,
) -> Result<Attempt> {
    let consul = Consul::new(agent, via)?;
    Ok(consul.take_place(place, limit, wait).await?)
}

/// Gives up a place in a semaphore.
pub async fn leave(agent: &Agent, place: &Place, via: impl Transport) -> Result<()> {
    Ok(Consul::new(agent, via)?.leave(place).await?)
}

/// Returns who has a place in a semaphore.
pub async fn places(
    agent: &Agent,
    prefix: &str,
    wait: Option<&Wait>,
    via: impl Transport,
) -> Result<Membership> {
    Ok(Consul::new(agent, via)?.places(prefix, wait).await?)
}

impl From<Sessions<Session>> for Listing {
    fn from(found: Sessions<Session>) -> Listing {
        Listing {
            sessions: found.sessions,
            filtered: found.filtered,
        }
    }
}

impl From<Error> for types::Error {
    fn from(error: Error) -> types::Error {
        types::Error {
            kind: match error.kind() {
                ErrorKind::Invalid(parameter) => types::ErrorKind::Invalid(parameter.clone()),
                ErrorKind::Denied => types::ErrorKind::Denied,
                ErrorKind::NotFound => types::ErrorKind::NotFound,
                ErrorKind::Conflict => types::ErrorKind::Conflict,
                ErrorKind::Unavailable => types::ErrorKind::Unavailable,
                ErrorKind::Timeout => types::ErrorKind::Timeout,
                ErrorKind::Transport => types::ErrorKind::Transport,
                ErrorKind::Tls => types::ErrorKind::Tls,
                ErrorKind::Protocol => types::ErrorKind::Protocol,
                ErrorKind::Unsupported => types::ErrorKind::Unsupported,
                _ => types::ErrorKind::Other,
            },
            message: error.message().to_owned(),
            exchange: error.exchange().map(|exchange| types::Exchange {
                method: exchange.method.clone(),
                path: exchange.path.clone(),
                status: exchange.status,
                text: exchange.text.clone(),
            }),
            maybe_applied: error.maybe_applied(),
        }
    }
}
