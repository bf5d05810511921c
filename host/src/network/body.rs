//! A response body, limited in size and time.

use super::connections::Use;
use super::error::{Kind, RequestError};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

pub(crate) struct LimitedBody {
    incoming: Incoming,
    left: usize,
    between: Option<Duration>,
    deadline: Instant,
    /// The use of the connection, until the body has ended.
    used: Option<Use>,
    /// Runs while the next part is awaited.
    timer: Option<Pin<Box<Sleep>>>,
}

impl LimitedBody {
    pub(super) fn new(
        incoming: Incoming,
        limit: usize,
        between: Option<Duration>,
        deadline: Instant,
        used: Option<Use>,
    ) -> LimitedBody {
        LimitedBody {
            incoming,
            left: limit,
            between,
            deadline,
            used,
            timer: None,
        }
    }

    /// Reads no more than this in all.
    pub(crate) fn limit(&mut self, limit: usize) {
        self.left = self.left.min(limit);
    }

    /// The time until which the next part must arrive. Never beyond the deadline, so that a server that trickles data
    /// cannot keep a call open.
    fn next_by(&self) -> Instant {
        let next = self.between.map(|wait| Instant::now() + wait);
        next.map_or(self.deadline, |next| next.min(self.deadline))
    }
}

impl LimitedBody {
    /// The body has been read to its end.
    fn ended(&mut self) {
        if let Some(used) = self.used.take() {
            used.complete();
        }
    }
}

impl Drop for LimitedBody {
    fn drop(&mut self) {
        if self.incoming.is_end_stream() {
            self.ended();
        }
    }
}

impl Body for LimitedBody {
    type Data = Bytes;
    type Error = RequestError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestError>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let size = frame.data_ref().map_or(0, Bytes::len);
                match this.left.checked_sub(size) {
                    Some(left) => this.left = left,
                    None => {
                        let why = "the response is larger than allowed";
                        let error = RequestError::new(Kind::TooLarge, why);
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                this.timer = None;
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                Poll::Ready(Some(Err(RequestError::from_hyper(&error))))
            }
            Poll::Ready(None) => {
                this.ended();
                Poll::Ready(None)
            }
            Poll::Pending => {
                let next_by = this.next_by();
                let timer = this
                    .timer
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next_by)));
                match timer.as_mut().poll(cx) {
                    Poll::Ready(()) => {
                        let why = "the response was not complete in time";
                        let error = RequestError::new(Kind::ReadTimeout, why);
                        Poll::Ready(Some(Err(error)))
                    }
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
