//! Keys and certificates: values made of files, which are read again on demand.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::ServeError;

/// Value made of files, which are read again on demand.
pub(crate) struct FromFiles<T> {
    value: ArcSwap<T>,
    read: Box<dyn Fn() -> Result<T, ServeError> + Send + Sync>,
}

impl<T> FromFiles<T> {
    /// Reads the files.
    ///
    /// # Errors
    /// Those of `read`.
    pub(crate) fn new(
        read: impl Fn() -> Result<T, ServeError> + Send + Sync + 'static,
    ) -> Result<Self, ServeError> {
        Ok(Self { value: ArcSwap::from_pointee(read()?), read: Box::new(read) })
    }

    /// Value of the files that were read last.
    pub(crate) fn get(&self) -> Arc<T> {
        self.value.load_full()
    }

    /// Reads the files again. If that fails, the old value stays, and the log says so.
    pub(crate) fn reload(&self) {
        match (self.read)() {
            Ok(value) => self.value.store(Arc::new(value)),
            Err(error) => {
                let reason = crate::error::chain(&error);
                tracing::error!(reason, "the new keys or certificates are refused, the old ones stay");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn what_cannot_be_read_leaves_the_old_value() {
        let text = Arc::new(Mutex::new("1"));
        let source = text.clone();
        let number = FromFiles::new(move || {
            let missing = |_| crate::serve::ApiKeyError::Empty("keys".into());
            Ok(source.lock().unwrap().parse::<i32>().map_err(missing)?)
        })
        .unwrap();
        for (now, expected) in [("2", 2), ("no number", 2), ("3", 3)] {
            *text.lock().unwrap() = now;
            number.reload();
            assert_eq!(*number.get(), expected);
        }
    }
}
