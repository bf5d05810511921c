//! `/v1/status/`: the Raft leader and its peers.

use crate::agent::Agent;
use crate::error::ErrorResponse;
use crate::request::Request;
use crate::response::Response;

/// `GET /v1/status/leader`: the agent itself.
pub(crate) fn leader(agent: &Agent, request: &Request) -> Result<Response, ErrorResponse> {
    request.blocking_options()?;
    agent.check_datacenter(request.datacenter())?;
    Ok(Response::json(&agent.address))
}

/// `GET /v1/status/peers`: the agent alone.
pub(crate) fn peers(agent: &Agent, request: &Request) -> Result<Response, ErrorResponse> {
    request.blocking_options()?;
    agent.check_datacenter(request.datacenter())?;
    Ok(Response::json(&[agent.address]))
}
