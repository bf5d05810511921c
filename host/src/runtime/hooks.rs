//! The requests of one call: each goes through the client's network, and into the call's journal.

use super::journal::Journal;
use crate::network::{Network, RequestError, TOKEN_HEADER};
use http::Request;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use wasmtime_wasi_http::{ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpHooks};

/// Maximum number of concurrent requests in one call. The built-in component makes one after the other. Without a limit, a
/// hostile one opened 10,000 connections within a second.
const MAX_REQUESTS: usize = 8;

/// Connects the `wasi:http` of one call to the network.
pub(crate) struct Hooks {
    network: Arc<Network>,
    journal: Arc<Journal>,
    deadline: Instant,
    requests: Arc<Semaphore>,
}

impl Hooks {
    pub(crate) fn new(network: Arc<Network>, journal: Arc<Journal>, deadline: Instant) -> Hooks {
        Hooks {
            network,
            journal,
            deadline,
            requests: Arc::new(Semaphore::new(MAX_REQUESTS)),
        }
    }

    pub(super) fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }
}

type Sent = (
    http::Response<WasiBody>,
    Box<dyn Future<Output = Result<(), wasmtime_wasi_http::Error>> + Send>,
);

impl WasiHttpHooks for Hooks {
    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        let injects = self.network.injects_token();
        Arc::new(move |name| {
            wasmtime_wasi_http::DEFAULT_FORBIDDEN_HEADERS.contains(name)
                || *name == http::header::AUTHORIZATION
                || (injects && *name == TOKEN_HEADER)
        })
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), wasmtime_wasi_http::Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, wasmtime_wasi_http::Error>> + Send> {
        let (network, journal, deadline) =
            (self.network.clone(), self.journal.clone(), self.deadline);
        let permit = self.requests.clone().try_acquire_owned();
        Box::new(async move {
            journal.begin(&request);
            let method = request.method().clone();
            let result = match permit {
                Ok(permit) => {
                    network
                        .send(request, options.unwrap_or_default(), deadline, permit)
                        .await
                }
                Err(_) => Err(RequestError::too_many()),
            };
            match result {
                Ok(response) => {
                    let done: Box<dyn Future<Output = _> + Send> = Box::new(async { Ok(()) });
                    Ok((response, done))
                }
                Err(error) => {
                    journal.failed(&method, &error);
                    Err(error.into_wasi())
                }
            }
        })
    }
}
