//! An answer's body, bounded in size and time.

use super::fault::{Fault, Kind};
use super::{Data, Incoming};
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};

pub(super) struct Bounded {
    incoming: Incoming,
    left: usize,
    between: Option<Duration>,
    deadline: Instant,
    timer: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl Bounded {
    pub(super) fn new(
        incoming: Incoming,
        limit: usize,
        between: Option<Duration>,
        deadline: Instant,
        permit: OwnedSemaphorePermit,
    ) -> Bounded {
        let mut bounded = Bounded {
            incoming,
            left: limit,
            between,
            deadline,
            timer: Box::pin(tokio::time::sleep_until(deadline)),
            _permit: permit,
        };
        bounded.wind_up();
        bounded
    }

    /// Sets the timer for the next part; never beyond the deadline, so that a server which drips cannot hold a call.
    fn wind_up(&mut self) {
        let next = self
            .between
            .map_or(self.deadline, |wait| Instant::now() + wait);
        self.timer.as_mut().reset(next.min(self.deadline));
    }
}

impl Body for Bounded {
    type Data = Data;
    type Error = wasmtime_wasi_http::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Data>, Self::Error>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let size = frame.data_ref().map_or(0, Data::len);
                match this.left.checked_sub(size) {
                    Some(left) => this.left = left,
                    None => {
                        let fault = Fault::new(Kind::TooLarge, "the answer is larger than allowed");
                        return Poll::Ready(Some(Err(fault.into_wasi())));
                    }
                }
                this.wind_up();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                Poll::Ready(Some(Err(Fault::from_hyper(&error).into_wasi())))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => match this.timer.as_mut().poll(cx) {
                Poll::Ready(()) => {
                    let fault =
                        Fault::new(Kind::ReadTimeout, "the answer was not complete in time");
                    Poll::Ready(Some(Err(fault.into_wasi())))
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
