//! Images of the planned parts, in order, for the classifier.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use super::error::BulkError;
use super::files::read_plan;
use super::plan::{Listed, Planned, Task};
use super::record::{DoneRecord, InputRecord};
use super::store::Store;
use crate::error::{Error, ErrorKind};
use crate::pipeline::Input;
use crate::places::{self, Item, Options, Place, Unit};

/// News of the feeder, in the order of the images: one [`Image`](Mark::Image) for each that it gives.
#[derive(Debug)]
pub(super) enum Mark {
    /// A part begins.
    Begin(Task),
    /// An image follows.
    Image {
        /// Name of its row.
        name: String,
        /// True if it could not be read, and may be readable later.
        is_unread: bool,
    },
    /// The part ends.
    End,
    /// All inputs are listed.
    Listed(Listed),
    /// Nothing follows.
    Failed(BulkError),
}

/// Places that their names do not tell: signed addresses, and paths that are not UTF-8. They are in no record.
#[derive(Debug, Clone, Default)]
pub(super) struct Hidden(Arc<Mutex<HashMap<String, Place>>>);

impl Hidden {
    /// Adds a place that `name` does not tell.
    pub(super) fn add(&self, name: String, place: Place) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, place);
    }

    /// Finds the place of an input; none while it may still be listed.
    fn place(&self, input: &InputRecord, is_listed: bool) -> Option<Place> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&input.name).cloned();
        let told = || Place::parse(&input.name).ok();
        match known {
            Some(place) => Some(place),
            None if input.is_hidden && !is_listed => None,
            None => told(),
        }
    }
}

/// Images of a part.
type Items = Box<dyn Iterator<Item = Item> + Send>;

/// Iterator over the images of all planned parts. The reading of the next part begins before the last image of one.
pub(super) struct Feeder {
    store: Store,
    options: Options,
    hidden: Hidden,
    planned: Receiver<Planned>,
    marks: Sender<Mark>,
    stop: Arc<AtomicBool>,
    /// Parts that are read; the first one is told to have begun.
    open: VecDeque<(Task, Items)>,
    /// Parts with hidden places that are not known before all inputs are listed.
    deferred: Vec<Task>,
    is_listed: bool,
    failure: Option<BulkError>,
}

impl Feeder {
    /// Creates an iterator over the parts of `planned`, which tells `marks` what it does.
    pub(super) fn new(
        store: Store,
        options: Options,
        hidden: Hidden,
        planned: Receiver<Planned>,
        marks: Sender<Mark>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let (open, deferred) = (VecDeque::new(), Vec::new());
        Self { store, options, hidden, planned, marks, stop, open, deferred, is_listed: false, failure: None }
    }

    /// Opens a planned part, if there is one; `wait` for one if all that were planned are done.
    fn open_next(&mut self, wait: bool) -> Result<bool, BulkError> {
        loop {
            if self.is_listed
                && let Some(task) = self.deferred.pop()
            {
                if self.open(task)? {
                    return Ok(true);
                }
                continue;
            }
            let planned = match wait {
                true => self.planned.recv().ok(),
                false => self.planned.try_recv().ok(),
            };
            match planned {
                Some(Planned::Part(task)) => {
                    if self.open(task)? {
                        return Ok(true);
                    }
                }
                Some(Planned::Listed(listed)) => {
                    self.is_listed = true;
                    self.tell(Mark::Listed(listed));
                }
                Some(Planned::Failed(error)) => return Err(error),
                None => return Ok(false),
            }
        }
    }

    /// Begins to read a part, unless another process has done it, or a place in it is not known yet.
    fn open(&mut self, task: Task) -> Result<bool, BulkError> {
        if task.is_shared && self.store.json::<DoneRecord>(&task.part.done())?.is_some() {
            return Ok(false);
        }
        let (_, inputs) = read_plan(&self.store, task.part)?;
        let unit = |input: InputRecord| {
            let place = self.hidden.place(&input, self.is_listed)?;
            Some(input.unit(place))
        };
        let Some(units) = inputs.into_iter().map(unit).collect::<Option<Vec<Unit>>>() else {
            self.deferred.push(task);
            return Ok(false);
        };
        // Two parts share the window.
        let options = Options { window_bytes: self.options.window_bytes / 2, ..self.options };
        let items = places::items(units.into_iter(), &options);
        self.open.push_back((task, Box::new(items)));
        if self.open.len() == 1 {
            self.tell(Mark::Begin(task));
        }
        Ok(true)
    }

    fn tell(&self, mark: Mark) {
        // The worker was stopped.
        let _ = self.marks.send(mark);
    }

    /// Next image of the first part, or its end.
    fn advance(&mut self) -> Result<Option<Input>, BulkError> {
        loop {
            if self.failure.is_none() && self.open.len() < 2 {
                let wait = self.open.is_empty();
                match self.open_next(wait) {
                    Ok(true) => {}
                    Ok(false) if wait => return Ok(None),
                    Ok(false) => {}
                    Err(error) => self.failure = Some(error),
                }
            }
            let Some((_, items)) = self.open.front_mut() else {
                return self.failure.take().map_or(Ok(None), Err);
            };
            if let Some(item) = items.next() {
                return Ok(Some(self.input(item)));
            }
            self.open.pop_front();
            self.tell(Mark::End);
            if let Some(&(task, _)) = self.open.front() {
                self.tell(Mark::Begin(task));
            }
        }
    }

    fn input(&self, item: Item) -> Input {
        let name = item.name.clone();
        let input = Input::from(item);
        let is_unread = matches!(&input, Input::Unreadable { error, .. } if may_pass(error));
        self.tell(Mark::Image { name, is_unread });
        input
    }
}

/// Tells whether reading again later could help.
fn may_pass(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Place(error) if error.is_temporary())
}

impl Iterator for Feeder {
    type Item = Input;

    fn next(&mut self) -> Option<Input> {
        if self.stop.load(Ordering::Relaxed) {
            return None;
        }
        self.advance().unwrap_or_else(|error| {
            self.tell(Mark::Failed(error));
            None
        })
    }
}
