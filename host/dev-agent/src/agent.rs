//! The state and the settings that all requests share.

use std::net::SocketAddr;

use crate::acl::{Access, Acl};
use crate::error::ErrorResponse;
use crate::limits::Limits;
use crate::request::Request;
use crate::session_list::SessionListCache;
use crate::shared_state::SharedState;
use crate::state::{Query, State};

/// An agent, as its endpoints see it.
pub(crate) struct Agent {
    pub(crate) state: SharedState,
    pub(crate) acl: Acl,
    pub(crate) limits: Limits,
    /// The name of the agent's own node.
    pub(crate) node: String,
    pub(crate) datacenter: String,
    /// The address the agent listens on.
    pub(crate) address: SocketAddr,
    pub(crate) session_list: SessionListCache,
}

impl Agent {
    /// Rejects a datacenter other than the agent's; an empty name means the agent's.
    pub(crate) fn check_datacenter(&self, name: &str) -> Result<(), ErrorResponse> {
        if name.is_empty() || name == self.datacenter {
            return Ok(());
        }
        Err(ErrorResponse::internal_server_error(
            "No path to datacenter",
        ))
    }

    /// Returns what a request's token permits; an unknown token is an error.
    pub(crate) fn access(&self, request: &Request) -> Result<Access, ErrorResponse> {
        Ok(self.acl.resolve(request.token())?)
    }

    /// Rejects a request without a token that grants access.
    pub(crate) fn require_access(&self, request: &Request) -> Result<(), ErrorResponse> {
        if !self.access(request)?.is_allowed() {
            return Err(ErrorResponse::permission_denied());
        }
        Ok(())
    }

    /// Runs a read, which the request may ask to block, and returns the index of `query` with the
    /// result of `rows`.
    pub(crate) async fn read<T>(
        &self,
        request: &Request,
        query: Query,
        rows: impl Fn(&State, Access) -> T,
    ) -> Result<(u64, T), ErrorResponse> {
        let blocking = request.blocking_options()?;
        self.check_datacenter(request.datacenter())?;
        let access = self.access(request)?;
        let rows = |state: &State| rows(state, access);
        Ok(self.state.read(query, blocking, rows).await?)
    }
}
