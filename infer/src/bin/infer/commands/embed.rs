//! Command `infer embed`: writes embeddings of images to a file.

use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail, ensure};
use ferronnx_infer::embed::{npy, table};
use ferronnx_infer::files::serialize_path;
use ferronnx_infer::results::Failed;
use ferronnx_infer::session::Optimization;
use ferronnx_infer::{Classifier, escape};
use ferronnx_models::files::StagedFile;
use indicatif::ProgressBar;
use serde::Serialize;

use super::classify::{Inputs, inputs};
use super::model;
use crate::args::EmbedArgs;
use crate::exit::Done;
use crate::{messages, signals};

/// Embeds the images of `args` and writes the file.
pub fn run(args: &EmbedArgs) -> Result<Done> {
    let form = Form::of(&args.out)?;
    let builder = Classifier::builder().batch(args.batch).assume(args.assume.assumptions()?);
    let embedder = model::embedder(&args.model, builder, Optimization::Full)?.normalized(args.normalize);
    let Inputs { sources, failed, left_out } = inputs(&args.paths)?;
    if !left_out.is_empty() {
        messages::note(format_args!("left out: {left_out}"));
    }
    if form == Form::Npy {
        sources.iter().try_for_each(|source| check_line(source.path()))?;
    }
    let stop = signals::stop()?;
    let mut counts = Counts { progress: messages::progress(sources.len(), false), embedded: 0, failed: 0 };
    failed.iter().for_each(|failed| counts.fail(failed));
    let mut names = String::new();
    let mut is_done = false;
    let written = StagedFile::new(&args.out).and_then(|mut file| {
        let mut rows = Rows::new(form, &mut file)?;
        for (path, embedding) in embedder.embed_files(sources) {
            if stop.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            match embedding {
                Ok(values) => {
                    if form == Form::Npy {
                        names.extend([&*path.to_string_lossy(), "\n"]);
                    }
                    rows.add(&path, &values)?;
                    counts.add();
                }
                Err(error) => counts.fail(&Failed { path, error }),
            }
        }
        is_done = true;
        match counts.embedded {
            0 => return Err(io::Error::other("no image was embedded")),
            _ => rows.finish()?,
        }
        file.replace()
    });
    counts.progress.finish_and_clear();
    if !is_done && stop.load(Ordering::Relaxed) {
        messages::note(format_args!("stopped after {} images: nothing was written", counts.embedded));
        return Ok(Done::Stopped);
    }
    // With nothing to write, the images have said why.
    if counts.embedded > 0 || !is_done {
        let cannot_write = |path: &Path| format!("cannot write {}", path.display());
        written.with_context(|| cannot_write(&args.out))?;
        if form == Form::Npy {
            let path = table::names_file(&args.out);
            ferronnx_models::files::write_atomically(&path, |out| out.write_all(names.as_bytes()))
                .with_context(|| cannot_write(&path))?;
        }
    }
    let failed = if counts.failed == 0 { String::new() } else { format!(", {} failed", counts.failed) };
    messages::note(format_args!("{} embedded{failed}", counts.embedded));
    Ok(Done::from_counts(counts.embedded, counts.failed))
}

/// Fails when the name of an image cannot be a line of text.
fn check_line(path: &Path) -> Result<()> {
    ensure!(
        path.to_str().is_some_and(|name| !name.contains(['\n', '\r'])),
        "{}: the name cannot be a line of text, so write .jsonl: --out FILE.jsonl",
        escape::path(path)
    );
    Ok(())
}

/// Form of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Npy,
    Jsonl,
}

impl Form {
    /// Form that the extension of `path` names.
    fn of(path: &Path) -> Result<Self> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("npy") => Ok(Self::Npy),
            Some("jsonl") => Ok(Self::Jsonl),
            _ => bail!("--out {}: the name has to end in .npy or .jsonl", path.display()),
        }
    }
}

/// Rows of a file.
enum Rows<W> {
    Npy(npy::Writer<W>),
    Jsonl(W),
}

/// Line of a `.jsonl` file.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten, serialize_with = "path")]
    path: &'a PathBuf,
    embedding: &'a [f32],
}

fn path<S: serde::Serializer>(path: &&PathBuf, serializer: S) -> Result<S::Ok, S::Error> {
    serialize_path(path, serializer)
}

impl<W: Write + Seek> Rows<W> {
    fn new(form: Form, out: W) -> io::Result<Self> {
        Ok(match form {
            Form::Npy => Self::Npy(npy::Writer::new(out)?),
            Form::Jsonl => Self::Jsonl(out),
        })
    }

    fn add(&mut self, path: &PathBuf, embedding: &[f32]) -> io::Result<()> {
        match self {
            Self::Npy(matrix) => matrix.row(embedding),
            Self::Jsonl(out) => {
                serde_json::to_writer(&mut *out, &Line { path, embedding })?;
                out.write_all(b"\n")
            }
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Npy(matrix) => matrix.finish().map(|_| ()),
            Self::Jsonl(_) => Ok(()),
        }
    }
}

/// Numbers of images so far.
struct Counts {
    progress: ProgressBar,
    embedded: usize,
    failed: usize,
}

impl Counts {
    fn add(&mut self) {
        self.embedded += 1;
        self.progress.inc(1);
    }

    fn fail(&mut self, failed: &Failed) {
        self.failed += 1;
        messages::failed(&self.progress, failed);
        self.progress.inc(1);
    }
}
