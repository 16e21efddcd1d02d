//! Parallel decoding ahead of training, with a bounded number of batches in memory.

use std::any::Any;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use ferronnx_infer::decode;
use ferronnx_infer::preprocess::CHANNELS;
use image::RgbImage;
use rayon::prelude::*;

use super::error::DataError;

/// Decoded images of one size, each with its item `I`, and the errors of others.
#[derive(Debug)]
pub(super) struct Decoded<I> {
    /// Items of the decoded images.
    pub(super) items: Vec<I>,
    /// Decoded and resized images, as bytes `[N, C, H, W]`.
    pub(super) bytes: Vec<u8>,
    /// Errors of the images that could not be decoded.
    pub(super) bad: Vec<ferronnx_infer::Error>,
}

impl<I: Copy + Send + Sync> Decoded<I> {
    /// Decodes the images of `items` in parallel, each of what was fetched of it; `None` when `stop` was set meanwhile.
    fn make<E: Send>(
        items: &[I],
        fetched: Vec<E>,
        work: impl Fn(I, E) -> Result<Vec<u8>, ferronnx_infer::Error> + Sync,
        stop: &AtomicBool,
    ) -> Option<Self> {
        let each = |(&item, fetched): (&I, E)| (!stop.load(Ordering::Relaxed)).then(|| work(item, fetched));
        let results: Vec<_> = items.par_iter().zip(fetched).map(each).collect::<Option<_>>()?;
        let mut decoded = Self { items: Vec::new(), bytes: Vec::new(), bad: Vec::new() };
        for (&item, result) in items.iter().zip(results) {
            match result {
                Ok(bytes) => {
                    decoded.items.push(item);
                    decoded.bytes.extend(bytes);
                }
                Err(error) => decoded.bad.push(error),
            }
        }
        Some(decoded)
    }
}

/// Reads and decodes the image at `path`, and calls `work` with its bytes and the image. A decoder that panics is an error
/// of the image.
pub(super) fn read<T>(
    path: &Path,
    work: impl FnOnce(&[u8], decode::Decoded) -> T,
) -> Result<T, ferronnx_infer::Error> {
    let encoded = decode::guard(|| decode::encoded(path)).map_err(|error| error.at(path))?;
    read_bytes(path, &encoded, work)
}

/// Decodes the image `encoded`, which is called `name`, and calls `work` with its bytes and the image. A decoder that
/// panics is an error of the image.
pub(super) fn read_bytes<T>(
    name: &Path,
    encoded: &[u8],
    work: impl FnOnce(&[u8], decode::Decoded) -> T,
) -> Result<T, ferronnx_infer::Error> {
    let worked = || Ok(work(encoded, decode::described(encoded, &decode::Limits::default())?));
    decode::guard(worked).map_err(|error| error.at(name))
}

/// Converts an image to bytes `[C, H, W]`: its three channels, or the first one of a gray image.
pub(super) fn planar(image: &RgbImage, channels: usize) -> Vec<u8> {
    let channel = |channel: usize| image.as_raw().iter().skip(channel).step_by(CHANNELS);
    (0..channels).flat_map(channel).copied().collect()
}

/// Message of a panic.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason given")
}

/// Iterator over groups of images that a thread decodes ahead.
///
/// The channel holds one group. With the one being decoded and the one in use, three are in memory. Dropping the
/// iterator stops the work at the next image.
#[derive(Debug)]
pub(super) struct Prefetch<I> {
    groups: Option<Receiver<Result<Decoded<I>, DataError>>>,
    stop: Arc<AtomicBool>,
    worker: Option<JoinHandle<()>>,
}

impl<I: Copy + Send + Sync + 'static> Prefetch<I> {
    /// Starts a thread that fetches something for each image of a group, one after the other, and decodes all of them
    /// with `work`. An error of `fetch` is the end.
    pub(super) fn start<E, F, W>(groups: Vec<Vec<I>>, fetch: F, work: W) -> Self
    where
        E: Send + 'static,
        F: FnMut(I) -> Result<E, DataError> + Send + 'static,
        W: Fn(I, E) -> Result<Vec<u8>, ferronnx_infer::Error> + Send + Sync + 'static,
    {
        let (sender, receiver) = sync_channel(1);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let worker = thread::spawn(move || produce(&groups, fetch, &work, &stopped, &sender));
        Self { groups: Some(receiver), stop, worker: Some(worker) }
    }
}

fn produce<I: Copy + Send + Sync, E: Send>(
    groups: &[Vec<I>],
    mut fetch: impl FnMut(I) -> Result<E, DataError>,
    work: &(impl Fn(I, E) -> Result<Vec<u8>, ferronnx_infer::Error> + Sync),
    stop: &AtomicBool,
    sender: &SyncSender<Result<Decoded<I>, DataError>>,
) {
    for group in groups {
        let going = group.iter().take_while(|_| !stop.load(Ordering::Relaxed));
        let decoded = match going.map(|&item| fetch(item)).collect::<Result<Vec<E>, _>>() {
            Ok(fetched) if fetched.len() < group.len() => return,
            Ok(fetched) => Decoded::make(group, fetched, work, stop).map(Ok),
            Err(error) => Some(Err(error)),
        };
        let Some(decoded) = decoded else { return };
        let failed = decoded.is_err();
        // The receiver is gone, or has nothing more to come.
        if sender.send(decoded).is_err() || failed {
            return;
        }
    }
}

impl<I> Iterator for Prefetch<I> {
    type Item = Result<Decoded<I>, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(decoded) = self.groups.as_ref().and_then(|groups| groups.recv().ok()) {
            return Some(decoded);
        }
        // A panic of the worker must not look like the end of the images.
        let ended = self.worker.take()?.join();
        ended.err().map(|panic| Err(DataError::Stopped(words(&*panic).into())))
    }
}

impl<I> Drop for Prefetch<I> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Without a receiver, a waiting worker goes on and ends.
        self.groups = None;
        if let Some(worker) = self.worker.take() {
            // Errors of the worker no longer matter.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::time::{Duration, Instant};

    fn nothing(_: usize) -> Result<(), DataError> {
        Ok(())
    }

    fn groups(count: usize, size: usize) -> Vec<Vec<usize>> {
        (0..count * size).collect::<Vec<_>>().chunks(size).map(<[usize]>::to_vec).collect()
    }

    #[test]
    fn groups_arrive_in_order_without_the_bad_images() {
        let work = |index: usize, ()| match index % 4 {
            3 => Err(ferronnx_infer::Error::from(ferronnx_infer::ErrorKind::NotFound).at(index.to_string())),
            _ => Ok(vec![index as u8; 3]),
        };
        let all: Vec<_> = Prefetch::start(groups(5, 4), nothing, work).map(Result::unwrap).collect();
        assert_eq!(all.len(), 5);
        assert_eq!(all[1].items, [4, 5, 6]);
        assert_eq!(all[1].bytes, [4, 4, 4, 5, 5, 5, 6, 6, 6]);
        assert_eq!(all[4].bad[0].to_string(), "19: no such file or folder");
    }

    #[test]
    fn no_more_than_three_groups_are_in_memory() {
        let made = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&made);
        let mut ahead = Prefetch::start(groups(50, 1), nothing, move |_, ()| {
            counter.fetch_add(1, Ordering::SeqCst);
            Ok(vec![0])
        });
        for taken in 1..=50 {
            ahead.next().unwrap().unwrap();
            // Time enough to decode more.
            thread::sleep(Duration::from_millis(2));
            let made = made.load(Ordering::SeqCst);
            assert!(made <= taken + 2, "{made} made when {taken} were taken");
        }
        assert!(ahead.next().is_none());
        assert_eq!(made.load(Ordering::SeqCst), 50);
    }

    #[test]
    fn dropping_it_stops_the_work() {
        let made = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&made);
        let mut ahead = Prefetch::start(groups(100, 50), nothing, move |_, ()| {
            counter.fetch_add(1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(1));
            Ok(vec![0])
        });
        ahead.next().unwrap().unwrap();
        let started = Instant::now();
        drop(ahead);
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        let after_drop = made.load(Ordering::SeqCst);
        thread::sleep(Duration::from_millis(20));
        assert_eq!(made.load(Ordering::SeqCst), after_drop, "nothing runs on");
        assert!(after_drop < 300, "{after_drop} of 5,000 images were made");
    }

    #[test]
    fn a_panic_is_an_error_and_then_the_end() {
        let work = |index: usize, ()| if index == 5 { panic!("image {index}") } else { Ok(vec![0]) };
        let mut ahead = Prefetch::start(groups(4, 2), nothing, work);
        assert_eq!(ahead.by_ref().take_while(Result::is_ok).count(), 2);
        assert!(ahead.next().is_none());
        let said = Prefetch::start(groups(4, 2), nothing, work).find_map(Result::err).unwrap().to_string();
        assert_eq!(said, "reading images ahead stopped: image 5");
    }

    #[test]
    fn an_error_of_fetching_is_the_end() {
        let fetch = |index: usize| match index {
            5 => Err(DataError::Stopped("five".into())),
            _ => Ok(index as u8),
        };
        let mut ahead = Prefetch::start(groups(4, 2), fetch, |_, fetched| Ok(vec![fetched]));
        assert_eq!(ahead.next().unwrap().unwrap().bytes, [0, 1]);
        assert_eq!(ahead.next().unwrap().unwrap().bytes, [2, 3]);
        assert!(ahead.next().unwrap().unwrap_err().to_string().ends_with("five"));
        assert!(ahead.next().is_none());
    }

    #[test]
    fn a_decoder_that_panics_has_met_a_bad_image() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        RgbImage::from_pixel(2, 1, image::Rgb([1, 2, 3])).save(&path).unwrap();
        assert_eq!(planar(&read(&path, |_, decoded| decoded.image).unwrap(), 3), [1, 1, 2, 2, 3, 3]);
        let error = read(&path, |_, _| -> () { panic!("oh") }).unwrap_err().to_string();
        assert_eq!(error, format!("{}: the decoder gave up: oh", path.display()));
    }
}
