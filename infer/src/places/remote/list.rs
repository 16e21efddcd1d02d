//! Listing of prefixes, page by page.

use futures_util::StreamExt;
use object_store::ObjectMeta;
use object_store::path::Path;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::failure::Failure;
use super::object::{self, Object, is_not_found};
use super::retry::{Attempts, retry};
use super::runtime;
use super::store::{self, Store};
use crate::error::{Error, ErrorKind, Result};
use crate::places::list::{Stream, of_name};
use crate::places::names::{self, Named};
use crate::places::{Options, Place, PlaceError, Unit, UnitKind, Url};

/// Names that are listed ahead: two pages.
const AHEAD: usize = 2000;

/// Units of an object, a list or a prefix.
///
/// A name without an extension is a prefix; if nothing is below it, it is an image.
pub(in crate::places) fn units(url: &Url, options: &Options) -> Result<Stream> {
    let place = Place::Remote(url.clone());
    let is_object = names::named(place.file_name()) != Named::Other || url.scheme().is_web();
    if is_object && !url.is_prefix() {
        return of_name(place, options);
    }
    Ok(Box::new(Listing::start(url)?))
}

/// Names of the objects directly below a prefix.
///
/// # Errors
/// Those of the store.
pub(in crate::places) fn files(url: &Url) -> Result<Vec<String>> {
    let (store, prefix) = (store::open(url)?, prefix(url)?);
    let list = async || Ok(store.list_with_delimiter(prefix.as_ref()).await?);
    let names = |object: ObjectMeta| object.location.filename().map(str::to_owned);
    match runtime::wait(retry(list)) {
        Ok(found) => Ok(found.objects.into_iter().filter_map(names).collect()),
        Err(error) if is_not_found(&error) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Prefix of a URL; none for the whole bucket.
fn prefix(url: &Url) -> std::result::Result<Option<Path>, PlaceError> {
    match url.key().trim_end_matches('/') {
        "" => Ok(None),
        key => object::path(key).map(Some),
    }
}

/// Units below a prefix, while the store is still listing them.
struct Listing {
    url: Url,
    pages: Receiver<std::result::Result<ObjectMeta, PlaceError>>,
    /// Objects that were listed, and units among them.
    listed: u64,
    units: u64,
    is_done: bool,
}

impl Listing {
    fn start(url: &Url) -> Result<Self> {
        let (store, prefix) = (store::open(url)?, prefix(url)?);
        let (sender, pages) = channel(AHEAD);
        let is_web = url.scheme().is_web();
        runtime::spawn(async move {
            if let Err(error) = list(&store, prefix, is_web, &sender).await {
                // Nobody wants the error of a listing that is no longer read.
                let _ = sender.send(Err(error)).await;
            }
        })?;
        Ok(Self { url: url.clone(), pages, listed: 0, units: 0, is_done: false })
    }

    /// Unit of an object; none for other files.
    fn unit(&self, object: &ObjectMeta) -> Option<Result<Unit>> {
        let key = object.location.as_ref();
        let below = key.strip_prefix(self.url.key().trim_end_matches('/')).unwrap_or(key);
        if names::is_ignored(below) {
            return None;
        }
        let Named::Unit(kind) = names::named(object.location.filename().unwrap_or_default()) else {
            return None;
        };
        let url = if self.url.scheme().is_web() { self.url.encoded(key) } else { self.url.with_key(key) };
        let version = object.e_tag.clone().unwrap_or_else(|| object.last_modified.to_rfc3339());
        let unit =
            Unit { size: Some(object.size), version: Some(version), ..Unit::new(Place::Remote(url), kind) };
        Some(Ok(unit.in_folders(below)))
    }

    /// Unit of a prefix that holds none: the image that has this name, or an error.
    fn nothing(&self) -> Result<Unit> {
        let at = |kind: ErrorKind| Error::from(kind).at(self.url.to_string());
        if self.listed > 0 {
            return Err(at(ErrorKind::NoImages));
        }
        if self.url.is_prefix() {
            return Err(at(PlaceError::NotFound.into()));
        }
        let object = Object::open(&self.url)?;
        let meta = runtime::wait(retry(|| object.head())).map_err(|error| error.at(self.url.to_string()))?;
        let unit = Unit::new(Place::Remote(self.url.clone()), UnitKind::Image);
        Ok(Unit { size: meta.size, version: meta.version, ..unit })
    }
}

impl Iterator for Listing {
    type Item = Result<Unit>;

    fn next(&mut self) -> Option<Result<Unit>> {
        while !self.is_done {
            match self.pages.blocking_recv() {
                Some(Ok(object)) => {
                    self.listed += 1;
                    if let Some(unit) = self.unit(&object) {
                        self.units += 1;
                        return Some(unit);
                    }
                }
                Some(Err(error)) => {
                    self.is_done = true;
                    return Some(Err(Error::from(error).at(self.url.to_string())));
                }
                None => {
                    self.is_done = true;
                    return (self.units == 0).then(|| self.nothing());
                }
            }
        }
        None
    }
}

/// Sends the objects below a prefix; a page that fails is asked for again, from the last name on.
async fn list(
    store: &Store,
    prefix: Option<Path>,
    is_web: bool,
    sender: &Sender<std::result::Result<ObjectMeta, PlaceError>>,
) -> std::result::Result<(), PlaceError> {
    let mut attempts = Attempts::default();
    let mut last: Option<Path> = None;
    loop {
        let mut pages = match &last {
            Some(last) => store.list_with_offset(prefix.as_ref(), last),
            None => store.list(prefix.as_ref()),
        };
        let failure = loop {
            match pages.next().await {
                Some(Ok(object)) => {
                    attempts.reset();
                    last = Some(object.location.clone());
                    if sender.send(Ok(object)).await.is_err() {
                        return Ok(());
                    }
                }
                Some(Err(error)) => break Failure::from(error),
                None => return Ok(()),
            }
        };
        // Web servers list in one answer and in any order.
        if is_web {
            return Err(not_listable(failure));
        }
        attempts.again(failure).await?;
    }
}

fn not_listable(failure: Failure) -> PlaceError {
    match failure {
        Failure::Busy(reason) | Failure::Broken(reason) => PlaceError::NotListable(reason),
        Failure::Final(PlaceError::Refused(reason)) => PlaceError::NotListable(reason),
        Failure::Final(error) => error,
    }
}
