//! Operations in steps, for hosts that send the requests themselves: an operation runs until it needs a response, and is
//! resumed when the host has it.

use crate::bindings::exports::consul::session::steps;
use crate::request::{self, Request};
use crate::transport::{
    Call, MAX_RESPONSE, Response, Transport, TransportError, TransportErrorKind, first_byte_timeout,
};
use consul_session_core::Scheme;
use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// An operation under way.
pub struct Operation<T> {
    future: Pin<Box<dyn Future<Output = T>>>,
    handover: Handover,
}

/// What an operation did when it ran.
#[derive(Debug)]
pub enum Step<T> {
    /// It needs the response to this request.
    Request(steps::Request),
    /// It is complete.
    Done(T),
}

impl<T> Operation<T> {
    /// An operation over the transport that `begin` receives. It begins with the first step.
    pub fn new<F>(begin: impl FnOnce(Handover) -> F) -> Operation<T>
    where
        F: Future<Output = T> + 'static,
    {
        let handover = Handover::default();
        Operation {
            future: Box::pin(begin(handover.clone())),
            handover,
        }
    }

    /// Continues until the operation needs a response or is complete. `response` is none at its beginning.
    ///
    /// # Panics
    ///
    /// Panics if there is a request under way and no response to it.
    pub fn step(&mut self, response: Option<Result<Response, TransportError>>) -> Step<T> {
        self.handover.0.borrow_mut().response = response;
        let mut context = Context::from_waker(Waker::noop());
        match self.future.as_mut().poll(&mut context) {
            Poll::Ready(result) => Step::Done(result),
            Poll::Pending => match self.handover.0.borrow_mut().request.take() {
                Some(request) => Step::Request(request),
                None => unreachable!("an operation waits for nothing but its transport"),
            },
        }
    }
}

/// The transport of an operation: hands its requests over to the host.
#[derive(Clone, Default)]
pub struct Handover(Rc<RefCell<Exchange>>);

#[derive(Default)]
struct Exchange {
    request: Option<steps::Request>,
    response: Option<Result<Response, TransportError>>,
}

impl Transport for Handover {
    async fn send(&self, call: &Call<'_>, request: &Request) -> Result<Response, TransportError> {
        self.0.borrow_mut().request = Some(outgoing(call, request));
        poll_fn(|_| match self.0.borrow_mut().response.take() {
            Some(response) => Poll::Ready(response),
            None => Poll::Pending,
        })
        .await
    }
}

fn outgoing(call: &Call<'_>, request: &Request) -> steps::Request {
    steps::Request {
        method: match request.method {
            request::Method::Get => steps::Method::Get,
            request::Method::Put => steps::Method::Put,
        },
        scheme: match call.address.scheme {
            Scheme::Http => steps::Scheme::Http,
            Scheme::Https => steps::Scheme::Https,
        },
        authority: call.address.authority(),
        path_with_query: request.path.clone(),
        headers: call
            .headers(request)
            .into_iter()
            .map(|(name, value)| steps::Header {
                name: name.to_owned(),
                value,
            })
            .collect(),
        body: request.body.clone(),
        timeouts: steps::Timeouts {
            connect: call.timeout,
            first_byte: first_byte_timeout(call, request),
            between_bytes: call.timeout,
        },
        hold: request.hold,
        max_body: MAX_RESPONSE as u64,
        writes: request.method == request::Method::Put,
    }
}

impl From<steps::Response> for Response {
    fn from(response: steps::Response) -> Response {
        let headers = response.headers.into_iter();
        Response::new(
            response.status,
            headers.map(|header| (header.name, header.value)),
            response.body,
        )
    }
}

impl From<steps::TransportError> for TransportError {
    fn from(error: steps::TransportError) -> TransportError {
        TransportError {
            kind: error.kind.into(),
            detail: error.detail,
            maybe_sent: error.maybe_sent,
        }
    }
}

impl From<steps::TransportErrorKind> for TransportErrorKind {
    fn from(kind: steps::TransportErrorKind) -> TransportErrorKind {
        use steps::TransportErrorKind as Wire;
        match kind {
            Wire::Denied => TransportErrorKind::Denied,
            Wire::AddressDenied => TransportErrorKind::AddressDenied,
            Wire::Unresolved => TransportErrorKind::Unresolved,
            Wire::ConnectTimeout => TransportErrorKind::ConnectTimeout,
            Wire::ConnectionRefused => TransportErrorKind::ConnectionRefused,
            Wire::Unreachable => TransportErrorKind::Unreachable,
            Wire::TooManyConnections => TransportErrorKind::TooManyConnections,
            Wire::UntrustedCertificate => TransportErrorKind::UntrustedCertificate,
            Wire::TlsHandshake => TransportErrorKind::TlsHandshake,
            Wire::TlsAlert => TransportErrorKind::TlsAlert,
            Wire::WriteTimeout => TransportErrorKind::WriteTimeout,
            Wire::ResponseTimeout => TransportErrorKind::ResponseTimeout,
            Wire::Timeout => TransportErrorKind::Timeout,
            Wire::ConnectionClosed => TransportErrorKind::ConnectionClosed,
            Wire::Incomplete => TransportErrorKind::Incomplete,
            Wire::HeadersTooLarge => TransportErrorKind::HeadersTooLarge,
            Wire::BodyTooLarge => TransportErrorKind::BodyTooLarge,
            Wire::NotHttp => TransportErrorKind::NotHttp,
            Wire::UnsupportedCoding => TransportErrorKind::UnsupportedCoding,
            Wire::Misconfigured => TransportErrorKind::Misconfigured,
            Wire::Other => TransportErrorKind::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations;
    use crate::types::Agent;

    fn agent() -> Agent {
        Agent {
            address: "https://h:8501".into(),
            token: Some("s3cret".into()),
            datacenter: None,
            namespace: None,
            partition: None,
            timeout: Some(7),
        }
    }

    fn answer(body: &str) -> Option<Result<Response, TransportError>> {
        Some(Ok(Response::new(
            200,
            [("Content-Type", "application/json".to_owned())],
            body.into(),
        )))
    }

    #[test]
    fn an_operation_ends_after_as_many_steps_as_it_has_requests() {
        let id = "2d54d52a-8d7a-2c9f-7dc1-8c5f9f0a0c11";
        let mut operation =
            Operation::new(async move |via| operations::remove(&agent(), "n", None, via).await);
        let Step::Request(list) = operation.step(None) else {
            panic!("it begins with a list")
        };
        assert_eq!(
            (list.authority.as_str(), list.path_with_query.as_str()),
            ("h:8501", "/v1/session/list?consistent")
        );
        assert_eq!((list.scheme, list.writes), (steps::Scheme::Https, false));
        assert_eq!(list.timeouts.first_byte, 7);
        let names: Vec<&str> = list
            .headers
            .iter()
            .map(|header| header.name.as_str())
            .collect();
        assert_eq!(names, ["accept", "x-consul-token"]);
        let listed = format!(r#"[{{"ID":"{id}","Name":"n","CreateIndex":1}}]"#);
        let Step::Request(destroy) = operation.step(answer(&listed)) else {
            panic!("it destroys what it found")
        };
        assert_eq!(destroy.path_with_query, format!("/v1/session/destroy/{id}"));
        assert!(destroy.writes && destroy.method == steps::Method::Put);
        let Step::Done(removed) = operation.step(answer("true")) else {
            panic!("nothing is left to do")
        };
        assert_eq!(removed.unwrap(), [id]);
    }

    #[test]
    fn an_operation_without_requests_is_done_at_once() {
        let mut operation =
            Operation::new(async |via| operations::info(&agent(), "no id", via).await);
        let Step::Done(result) = operation.step(None) else {
            panic!("the id is not valid")
        };
        assert!(result.is_err());
    }
}
