//! The requests of one call: each goes through the client's network, and into the call's journal.

use crate::network::{Kind, Network, RequestError, TOKEN_HEADER, Timeouts};
use crate::runtime::{Call, Journal};
use http::Request;
use http_body_util::{BodyExt, Either};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use wasmtime_wasi_http::{
    Error as WasiError, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpHooks,
};

/// Maximum number of concurrent requests in one call. The built-in component makes one after the other. Without a limit, a
/// hostile one opened 10,000 connections within a second.
const MAX_REQUESTS: usize = 8;

/// What a component may write to a body at once, before the network takes it.
const MAX_CHUNK: usize = 64 << 10;

/// Connects the `wasi:http` of one call to the network.
pub(super) struct Hooks {
    network: Arc<Network>,
    journal: Arc<Journal>,
    deadline: Instant,
    requests: Arc<Semaphore>,
}

impl Hooks {
    pub(super) fn new(call: Call) -> Hooks {
        Hooks {
            network: call.network,
            journal: call.journal,
            deadline: call.network_deadline,
            requests: Arc::new(Semaphore::new(MAX_REQUESTS)),
        }
    }
}

type Sent = (
    http::Response<WasiBody>,
    Box<dyn Future<Output = Result<(), WasiError>> + Send>,
);

impl WasiHttpHooks for Hooks {
    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        MAX_CHUNK
    }

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
        _: Box<dyn Future<Output = Result<(), WasiError>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, WasiError>> + Send> {
        let (network, journal, deadline) =
            (self.network.clone(), self.journal.clone(), self.deadline);
        let permit = self.requests.clone().try_acquire_owned().map(Arc::new);
        Box::new(async move {
            let writes = *request.method() != http::Method::GET;
            journal.begin(request.method(), request.uri(), writes);
            let options = options.unwrap_or_default();
            let timeouts = Timeouts {
                connect: options.connect_timeout,
                first_byte: options.first_byte_timeout,
                between_bytes: options.between_bytes_timeout,
            };
            let result = match permit {
                Ok(permit) => {
                    // A request counts until both of its bodies have ended. A server may answer before it has read the
                    // request's.
                    let sending = permit.clone();
                    let request = request.map(|body| {
                        let body = body.map_err(move |error| {
                            let _sending = &sending;
                            error
                        });
                        Either::Right(body.boxed_unsync())
                    });
                    let response = network.send(request, timeouts, deadline).await;
                    response.map(|response| (response, permit))
                }
                Err(_) => Err(RequestError::too_many()),
            };
            match result {
                Ok((response, permit)) => {
                    let response = response.map(|body| {
                        body.map_err(move |error| {
                            let _permit = &permit;
                            into_wasi(error)
                        })
                        .boxed_unsync()
                    });
                    let done: Box<dyn Future<Output = _> + Send> = Box::new(async { Ok(()) });
                    Ok((response, done))
                }
                Err(error) => {
                    journal.failed(&error, writes);
                    Err(into_wasi(error))
                }
            }
        })
    }
}

/// The error as a code of `wasi:http`.
fn into_wasi(error: RequestError) -> WasiError {
    let detail = error.visible_detail().map(str::to_owned);
    match error.kind() {
        Kind::Denied => WasiError::HttpRequestDenied,
        Kind::TooMany => WasiError::ConnectionLimitReached,
        Kind::AddressDenied => WasiError::DestinationIpProhibited,
        Kind::Resolve => WasiError::DnsError {
            rcode: detail,
            info_code: None,
        },
        // The only timeout code that no host uses after a request was sent, so the component can tell them apart.
        Kind::ConnectTimeout => WasiError::DnsTimeout,
        Kind::Refused => WasiError::ConnectionRefused,
        Kind::Unreachable => WasiError::DestinationUnavailable,
        Kind::Certificate => WasiError::TlsCertificateError,
        Kind::Handshake => WasiError::TlsProtocolError,
        Kind::Alert => WasiError::TlsAlertReceived {
            alert_id: None,
            alert_message: detail,
        },
        Kind::ReadTimeout => WasiError::ConnectionReadTimeout,
        Kind::Terminated => WasiError::ConnectionTerminated,
        Kind::Incomplete => WasiError::HttpResponseIncomplete,
        Kind::TooLarge => WasiError::HttpResponseBodySize(None),
        Kind::NotHttp => WasiError::HttpProtocolError,
        Kind::Malformed | Kind::Internal => WasiError::InternalError(detail),
    }
}
