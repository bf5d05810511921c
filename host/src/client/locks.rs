//! The steps of locks and semaphores, as `crate::locks` needs them.

use super::lanes::{Lane, Waiting};
use super::{Client, wire};
use crate::component::Operation;
use crate::component::locks::{Attempt, Holding, Lock, Membership, Place, Wait};
use crate::error::Result;
use crate::session::{NewSession, Session};
use std::time::Duration;

impl Client {
    pub(crate) fn timeout(&self) -> Duration {
        self.0.timeout
    }

    pub(crate) async fn create_in(
        &self,
        lane: Lane,
        timeout: Duration,
        session: &NewSession,
    ) -> Result<String> {
        let new = wire::NewSession::from(session);
        self.call_in(lane, timeout, Operation::Create, |agent| (agent, new))
            .await
    }

    pub(crate) async fn renew_in(&self, timeout: Duration, id: &str) -> Result<Session> {
        let id = id.to_owned();
        let renewed = self.call_in(Lane::Upkeep, timeout, Operation::Renew, |agent| (agent, id));
        let session: wire::Session = renewed.await?;
        Ok(session.into())
    }

    pub(crate) async fn destroy_in(&self, timeout: Duration, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.call_in(Lane::Upkeep, timeout, Operation::Destroy, |agent| {
            (agent, id)
        })
        .await
    }

    pub(crate) async fn acquire(
        &self,
        lock: &Lock,
        value: &[u8],
        wait: Option<Wait>,
    ) -> Result<Attempt> {
        let (lock, value) = (lock.clone(), value.to_vec());
        let operation = Operation::Acquire;
        match wait {
            None => {
                let parameters = |agent| (agent, lock, value, None::<Wait>);
                self.call_in(Lane::Calls, self.0.timeout, operation, parameters)
                    .await
            }
            Some(wait) => {
                let parameters = |agent, wait| (agent, lock, value, Some(wait));
                self.wait_in(Waiting::ToAcquire, operation, wait, parameters)
                    .await
            }
        }
    }

    pub(crate) async fn release(
        &self,
        timeout: Duration,
        lock: &Lock,
        delete_key: bool,
    ) -> Result<bool> {
        let lock = lock.clone();
        let parameters = |agent| (agent, lock, delete_key);
        self.call_in(Lane::Upkeep, timeout, Operation::Release, parameters)
            .await
    }

    pub(crate) async fn holding(&self, key: &str, wait: Option<Wait>) -> Result<Holding> {
        let key = key.to_owned();
        match wait {
            None => {
                let parameters = |agent| (agent, key, None::<Wait>);
                self.call_in(Lane::Upkeep, self.0.timeout, Operation::Holder, parameters)
                    .await
            }
            Some(wait) => {
                let parameters = |agent, wait| (agent, key, Some(wait));
                self.wait_in(Waiting::ForLoss, Operation::Holder, wait, parameters)
                    .await
            }
        }
    }

    pub(crate) async fn write_under(&self, lock: &Lock, key: &str, value: &[u8]) -> Result<u64> {
        let (lock, key, value) = (lock.clone(), key.to_owned(), value.to_vec());
        let parameters = |agent| (agent, lock, key, value);
        self.call_in(Lane::Calls, self.0.timeout, Operation::Write, parameters)
            .await
    }

    pub(crate) async fn delete_under(&self, lock: &Lock, key: &str) -> Result<()> {
        let (lock, key) = (lock.clone(), key.to_owned());
        let parameters = |agent| (agent, lock, key);
        self.call_in(Lane::Calls, self.0.timeout, Operation::Delete, parameters)
            .await
    }

    pub(crate) async fn join(&self, place: &Place, value: &[u8]) -> Result<()> {
        let (place, value) = (place.clone(), value.to_vec());
        let parameters = |agent| (agent, place, value);
        self.call_in(Lane::Calls, self.0.timeout, Operation::Join, parameters)
            .await
    }

    pub(crate) async fn take_place(
        &self,
        place: &Place,
        limit: u32,
        wait: Option<Wait>,
    ) -> Result<Attempt> {
        let place = place.clone();
        match wait {
            None => {
                let parameters = |agent| (agent, place, limit, None::<Wait>);
                self.call_in(Lane::Calls, self.0.timeout, Operation::Try, parameters)
                    .await
            }
            Some(wait) => {
                let parameters = |agent, wait| (agent, place, limit, Some(wait));
                self.wait_in(Waiting::ToAcquire, Operation::Try, wait, parameters)
                    .await
            }
        }
    }

    pub(crate) async fn leave(&self, timeout: Duration, place: &Place) -> Result<()> {
        let place = place.clone();
        self.call_in(Lane::Upkeep, timeout, Operation::Leave, |agent| {
            (agent, place)
        })
        .await
    }

    pub(crate) async fn places_of(&self, prefix: &str, wait: Option<Wait>) -> Result<Membership> {
        let prefix = prefix.to_owned();
        match wait {
            None => {
                let parameters = |agent| (agent, prefix, None::<Wait>);
                self.call_in(Lane::Upkeep, self.0.timeout, Operation::Places, parameters)
                    .await
            }
            Some(wait) => {
                let parameters = |agent, wait| (agent, prefix, Some(wait));
                self.wait_in(Waiting::ForLoss, Operation::Places, wait, parameters)
                    .await
            }
        }
    }
}
