//! The state and the settings that all requests share.

use std::net::SocketAddr;

use crate::acl::{Access, Acl};
use crate::error::ErrorResponse;
use crate::limits::Limits;
use crate::request::Request;
use crate::response::QueryMeta;
use crate::session_list::SessionListCache;
use crate::shared_state::SharedState;
use crate::state::{Query, State};
use crate::version::Differences;

/// An agent, as its endpoints see it.
pub(crate) struct Agent {
    pub(crate) version: &'static Differences,
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

/// The result of a read.
pub(crate) struct Read<T> {
    pub(crate) meta: QueryMeta,
    pub(crate) rows: T,
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

    /// Rejects a request whose token does not grant access. The error names the `permission` that is
    /// missing, and the resource.
    pub(crate) fn require(
        &self,
        request: &Request,
        permission: &str,
        resource: &str,
    ) -> Result<(), ErrorResponse> {
        self.require_access(self.access(request)?, permission, resource)
    }

    /// Rejects a request, as [`require`](Self::require) does, by what its token permits.
    pub(crate) fn require_access(
        &self,
        access: Access,
        permission: &str,
        resource: &str,
    ) -> Result<(), ErrorResponse> {
        if !access.is_allowed() {
            let text = self.version.permission_denied(access, permission, resource);
            return Err(ErrorResponse::forbidden(text));
        }
        Ok(())
    }

    /// Runs a read, which the request may ask to block, and returns the index of `query` with the
    /// result of `rows`. Results are filtered if `rows` would return others with full access.
    pub(crate) async fn read<T: PartialEq>(
        &self,
        request: &Request,
        query: Query,
        rows: impl Fn(&State, Access) -> T,
    ) -> Result<Read<T>, ErrorResponse> {
        let blocking = request.blocking_options()?;
        self.check_datacenter(request.datacenter())?;
        let access = self.access(request)?;
        let read = |state: &State| {
            let found = rows(state, access);
            let filtered = self.reports_filtering(access) && found != rows(state, Access::Allowed);
            (found, filtered)
        };
        let (index, (rows, filtered)) = self.state.read(query, blocking, read).await?;
        let meta = QueryMeta { index, filtered };
        Ok(Read { meta, rows })
    }

    /// Returns whether responses report that results were filtered. Consul reports this only to
    /// requests with a token.
    pub(crate) fn reports_filtering(&self, access: Access) -> bool {
        self.version.reports_filtered_results && access == Access::Powerless
    }
}
