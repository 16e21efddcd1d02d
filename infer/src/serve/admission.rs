//! Admission of requests: a place in the server and memory for the body, both before the body is read.
//!
//! A place stands for an image or a row that was accepted and is not answered yet. Whoever finds no place is told to come
//! back later, so that the memory and the waiting time of those who found one are bounded.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until};

use super::failure::Failure;
use super::record::Record;

/// Patience with a client that sends a body.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// Longest pause within a body.
    pause: Duration,
    /// Time for a small body; larger ones get a second for each [`RATE`] bytes in addition.
    whole: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { pause: Duration::from_secs(10), whole: Duration::from_secs(20) }
    }
}

/// Slowest client, in bytes a second.
const RATE: u64 = 16 << 10;

/// Places and memory of a server.
#[derive(Debug)]
pub(crate) struct Admission {
    places: Arc<Semaphore>,
    capacity: usize,
    memory: Arc<Semaphore>,
    max_body: usize,
}

impl Admission {
    /// Creates `capacity` places, and memory for bodies of at most `max_body` bytes: `memory` bytes for all together.
    pub(crate) fn new(capacity: usize, max_body: usize, memory: usize) -> Self {
        let memory = memory.max(max_body).min(u32::MAX as usize);
        let [places, memory] = [capacity, memory].map(|count| Arc::new(Semaphore::new(count)));
        Self { places, capacity, memory, max_body }
    }

    /// Number of places.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Number of places that are taken.
    pub(crate) fn taken(&self) -> usize {
        self.capacity - self.places.available_permits()
    }

    /// Waits until no place is taken.
    pub(crate) async fn all_free(&self) {
        let _ = self.places.acquire_many(self.capacity as u32).await;
    }

    /// Largest body, in bytes.
    pub(crate) fn max_body(&self) -> usize {
        self.max_body
    }

    /// Takes a place, and memory for the body whose length `headers` give.
    ///
    /// # Errors
    /// [`Refusal`]: there is no place or no memory, or the body is larger than allowed.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> Result<Admitted, Refusal> {
        let length =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let length: usize = length.unwrap_or(0);
        if length > self.max_body {
            return Err(Refusal::TooLarge);
        }
        let place = self.places.clone().try_acquire_owned().map_err(|_| Refusal::Full)?;
        let memory = self.memory.clone().try_acquire_many_owned(length as u32).map_err(|_| Refusal::Full)?;
        let (places, capacity) = (self.places.clone(), self.capacity);
        let memory = Arc::new(Memory(Mutex::new(memory)));
        let (place, record) = (Arc::new(Mutex::new(Some(place))), Record::default());
        Ok(Admitted { place, places, capacity, memory, record })
    }
}

/// Reason why a request is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is no place or no memory.
    Full,
    /// The body is larger than allowed.
    TooLarge,
    /// So many images are more than there are places.
    TooMany(usize),
}

/// Memory that a request holds.
#[derive(Debug)]
struct Memory(Mutex<OwnedSemaphorePermit>);

impl Memory {
    fn held(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).num_permits()
    }

    /// Makes sure that at least `bytes` are held.
    fn grow(&self, bytes: usize) -> Result<(), Refusal> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = bytes.saturating_sub(held.num_permits());
        if missing > 0 {
            let more = u32::try_from(missing).map_err(|_| Refusal::Full)?;
            let more = held.semaphore().clone().try_acquire_many_owned(more).map_err(|_| Refusal::Full)?;
            held.merge(more);
        }
        Ok(())
    }
}

/// Request that was admitted; its handler finds it among the extensions.
#[derive(Debug, Clone)]
pub(crate) struct Admitted {
    /// Place of the first image, until it is taken.
    place: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
    places: Arc<Semaphore>,
    capacity: usize,
    memory: Arc<Memory>,
    /// Facts for the log and the metrics.
    pub(crate) record: Record,
}

/// Place of one image or row, with a share of the request's memory. Dropping it frees both.
#[derive(Debug)]
pub(crate) struct Permit {
    _place: OwnedSemaphorePermit,
    _memory: Arc<Memory>,
}

impl Admitted {
    /// Takes places for `count` images or rows, one permit with all of them.
    ///
    /// # Errors
    /// [`Refusal::Full`] when there are not as many, [`Refusal::TooMany`] when there never are.
    pub(crate) fn permit(&self, count: usize) -> Result<Permit, Refusal> {
        if count > self.capacity {
            return Err(Refusal::TooMany(count));
        }
        let first = self.place.lock().unwrap_or_else(PoisonError::into_inner).take();
        let held = first.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = count.saturating_sub(held) as u32;
        let mut place = self.places.clone().try_acquire_many_owned(more).map_err(|_| Refusal::Full)?;
        if let Some(first) = first {
            place.merge(first);
        }
        Ok(Permit { _place: place, _memory: self.memory.clone() })
    }

    /// Takes places for `count` images, one permit for each.
    ///
    /// # Errors
    /// Those of [`permit`](Self::permit).
    pub(crate) fn permits(&self, count: usize) -> Result<Vec<Permit>, Refusal> {
        let Permit { _place: mut place, _memory: memory } = self.permit(count)?;
        let split = (0..count).filter_map(|_| place.split(1));
        Ok(split.map(|place| Permit { _place: place, _memory: memory.clone() }).collect())
    }

    /// Takes memory until the request holds `bytes`, for what is larger in memory than the body was.
    ///
    /// # Errors
    /// [`Refusal::Full`] when there is not enough.
    pub(crate) fn hold(&self, bytes: usize) -> Result<(), Refusal> {
        self.memory.grow(bytes)
    }

    /// Body whose size and pace are watched.
    pub(crate) fn metered(&self, body: Body, max_body: usize, failed: fn(Failure) -> axum::BoxError) -> Body {
        self.metered_with(Patience::default(), body, max_body, failed)
    }

    fn metered_with(
        &self,
        patience: Patience,
        body: Body,
        max_body: usize,
        failed: fn(Failure) -> axum::BoxError,
    ) -> Body {
        let (memory, start) = (self.memory.clone(), Instant::now());
        let end = Box::pin(sleep_until(start + patience.pause));
        Body::new(Metered { body, memory, max_body, received: 0, start, end, patience, failed })
    }
}

/// Body of a request: an error when it is too large, too slow, or there is no memory for it.
struct Metered {
    body: Body,
    memory: Arc<Memory>,
    max_body: usize,
    received: usize,
    start: Instant,
    /// Moment at which the body is given up.
    end: Pin<Box<Sleep>>,
    patience: Patience,
    /// Error of the transport.
    failed: fn(Failure) -> axum::BoxError,
}

impl Metered {
    fn receive(&mut self, bytes: usize) -> Result<(), Failure> {
        self.received += bytes;
        if self.received > self.max_body {
            return Err(too_large(self.max_body));
        }
        if self.received > self.memory.held() {
            // In steps, so that a body of small chunks does not lock for each.
            let step = (2 * self.received).max(64 << 10).min(self.max_body);
            self.memory.grow(step).map_err(|_| overloaded())?;
        }
        let now = Instant::now();
        let allowed = self.patience.whole + Duration::from_secs(self.received as u64 / RATE);
        self.end.as_mut().reset((now + self.patience.pause).min(self.start + allowed));
        Ok(())
    }
}

impl HttpBody for Metered {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let failed = self.failed;
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                Poll::Ready(Some(self.receive(bytes).map(|()| frame).map_err(failed)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => match self.end.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(Some(Err(failed(Failure::Slow)))),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Failure of a body of more than `max_body` bytes.
pub(crate) fn too_large(max_body: usize) -> Failure {
    Failure::TooLarge(format!("the request is larger than {} MB", max_body / 1_000_000))
}

/// Failure for want of a place or of memory, where nothing is known of the pace.
pub(crate) fn overloaded() -> Failure {
    Failure::Overloaded { retry_after: Duration::from_secs(1) }
}

/// Reads a whole body.
///
/// # Errors
/// The failure of a [metered](Admitted::metered) body, or [`Failure::Invalid`] when the client stops in the middle.
pub(crate) async fn read(body: Body) -> Result<Bytes, Failure> {
    match body.collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) => {
            Err(failure_of(&error).unwrap_or_else(|| Failure::Invalid("the body ended early".into())))
        }
    }
}

/// Failure among an error and its causes.
pub(crate) fn failure_of(error: &(dyn std::error::Error + 'static)) -> Option<Failure> {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.find_map(|cause| cause.downcast_ref::<Failure>()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(bytes: usize) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_LENGTH, bytes.into())])
    }

    #[test]
    fn places_are_taken_and_given_back() {
        let admission = Admission::new(3, 100, 100);
        let admitted = admission.admit(&HeaderMap::new()).unwrap();
        let other = admission.admit(&HeaderMap::new()).unwrap();
        assert_eq!(admission.taken(), 2);
        assert_eq!(admitted.permits(3).unwrap_err(), Refusal::Full);
        assert_eq!(other.permits(4).unwrap_err(), Refusal::TooMany(4));
        let permits = other.permits(2).unwrap();
        drop((admitted, other));
        assert_eq!((permits.len(), admission.taken()), (2, 2));
        drop(permits);
        assert_eq!(admission.taken(), 0);
        let all: Vec<_> = (0..3).map(|_| admission.admit(&HeaderMap::new()).unwrap()).collect();
        assert_eq!(admission.admit(&HeaderMap::new()).unwrap_err(), Refusal::Full);
        drop(all);
        assert_eq!(admission.taken(), 0);
    }

    #[test]
    fn memory_is_taken_for_the_announced_length() {
        let admission = Admission::new(9, 60, 100);
        assert_eq!(admission.admit(&length(61)).unwrap_err(), Refusal::TooLarge);
        let first = admission.admit(&length(60)).unwrap();
        assert_eq!(admission.admit(&length(60)).unwrap_err(), Refusal::Full);
        assert_eq!(first.hold(101).unwrap_err(), Refusal::Full);
        first.hold(80).unwrap();
        let permit = first.permit(1).unwrap();
        drop(first);
        assert_eq!(admission.memory.available_permits(), 20);
        drop(permit);
        assert_eq!((admission.memory.available_permits(), admission.taken()), (100, 0));
    }

    /// Body whose frames come as the test sends them.
    fn body(admission: &Admission, max: usize) -> (tokio::sync::mpsc::Sender<Bytes>, Body) {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
        let frames = futures_util::stream::poll_fn(move |context| {
            receiver.poll_recv(context).map(|bytes| bytes.map(Ok::<_, std::io::Error>))
        });
        let admitted = admission.admit(&HeaderMap::new()).unwrap();
        let patience = Patience { pause: Duration::from_millis(200), whole: Duration::from_millis(400) };
        (sender, admitted.metered_with(patience, Body::from_stream(frames), max, |failure| failure.into()))
    }

    #[tokio::test]
    async fn a_body_is_read_within_its_limits() {
        let admission = Admission::new(9, 1 << 20, 1 << 20);
        let (sender, fine) = body(&admission, 10);
        let reading = tokio::spawn(read(fine));
        for _ in 0..2 {
            sender.send(Bytes::from_static(b"12345")).await.unwrap();
        }
        drop(sender);
        assert_eq!(reading.await.unwrap().unwrap(), "1234512345");

        let (sender, large) = body(&admission, 9);
        sender.send(Bytes::from_static(b"1234567890")).await.unwrap();
        assert!(matches!(read(large).await, Err(Failure::TooLarge(_))));

        let (sender, silent) = body(&admission, 10);
        assert!(matches!(read(silent).await, Err(Failure::Slow)));
        drop(sender);
        assert_eq!(admission.taken(), 0);
    }

    #[tokio::test]
    async fn a_body_that_trickles_is_given_up() {
        let admission = Admission::new(9, 1 << 20, 1 << 20);
        let (sender, trickling) = body(&admission, 1 << 20);
        let reading = tokio::spawn(read(trickling));
        while sender.send(Bytes::from_static(b"1")).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(matches!(reading.await.unwrap(), Err(Failure::Slow)));
    }
}
