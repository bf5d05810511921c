//! A response body, limited in size and time.

use super::error::{Kind, RequestError};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};

pub(super) struct LimitedBody {
    incoming: Incoming,
    left: usize,
    between: Option<Duration>,
    deadline: Instant,
    timer: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl LimitedBody {
    pub(super) fn new(
        incoming: Incoming,
        limit: usize,
        between: Option<Duration>,
        deadline: Instant,
        permit: OwnedSemaphorePermit,
    ) -> LimitedBody {
        let mut body = LimitedBody {
            incoming,
            left: limit,
            between,
            deadline,
            timer: Box::pin(tokio::time::sleep_until(deadline)),
            _permit: permit,
        };
        body.reset_timer();
        body
    }

    /// Sets the timer for the next part, but never beyond the deadline, so that a server that trickles data cannot keep a call open.
    fn reset_timer(&mut self) {
        let next = self
            .between
            .map_or(self.deadline, |wait| Instant::now() + wait);
        self.timer.as_mut().reset(next.min(self.deadline));
    }
}

impl Body for LimitedBody {
    type Data = Bytes;
    type Error = wasmtime_wasi_http::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let size = frame.data_ref().map_or(0, Bytes::len);
                match this.left.checked_sub(size) {
                    Some(left) => this.left = left,
                    None => {
                        let error = RequestError::new(
                            Kind::TooLarge,
                            "the response is larger than allowed",
                        );
                        return Poll::Ready(Some(Err(error.into_wasi())));
                    }
                }
                this.reset_timer();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                Poll::Ready(Some(Err(RequestError::from_hyper(&error).into_wasi())))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => match this.timer.as_mut().poll(cx) {
                Poll::Ready(()) => {
                    let error = RequestError::new(
                        Kind::ReadTimeout,
                        "the response was not complete in time",
                    );
                    Poll::Ready(Some(Err(error.into_wasi())))
                }
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
