//! Command `infer similar`: finds the images that are most similar to an image.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use ferronnx_infer::embed::table::Embeddings;
use ferronnx_infer::embed::{Embedder, Neighbour, cosine, nearest};
use ferronnx_infer::results::Failed;
use ferronnx_infer::session::Optimization;
use ferronnx_infer::{Classifier, escape};
use ferronnx_report::text;
use ndarray::Array2;
use serde::Serialize;

use super::classify::{Inputs, inputs};
use super::model;
use crate::args::SimilarArgs;
use crate::exit::Done;
use crate::messages;

/// Least cosine between two embeddings of one image by one model: other devices round otherwise.
const SAME: f64 = 0.999;

/// Prints the images that are most similar to `args.photo`.
pub fn run(args: &SimilarArgs) -> Result<Done> {
    let builder = Classifier::builder().assume(args.assume.assumptions()?);
    let embedder = model::embedder(&args.model, builder, Optimization::Full)?;
    let query = embedder.embed_file(&args.photo)?;
    ensure!(
        query.iter().any(|&value| value != 0.0),
        "{}: its features are all 0, so that it is similar to nothing",
        args.photo.display()
    );
    let (among, failed) = match args.among.is_dir() {
        true => embedded(&embedder, &args.among)?,
        false => (kept(&embedder, &args.among, query.len())?, 0),
    };
    let rows = among.values.outer_iter();
    let rows: Vec<_> = rows.map(|row| row.to_slice().expect("rows in their order")).collect();
    let found = nearest(&query, rows, args.top);
    let neighbour = |Neighbour { index, similarity }: &Neighbour| JsonNeighbour {
        path: &among.names[*index],
        similarity: *similarity,
    };
    let neighbours: Vec<_> = found.iter().map(neighbour).collect();
    let text = match args.json {
        true => {
            let photo = args.photo.to_string_lossy();
            serde_json::to_string_pretty(&Json { photo: &photo, neighbours })?
        }
        false => {
            let row =
                |one: &JsonNeighbour<'_>| [format!("{:.4}", one.similarity), escape::name(one.path).into()];
            text::table(["similarity", "image"], neighbours.iter().map(row))
        }
    };
    writeln!(io::stdout(), "{text}").context("standard output")?;
    Ok(Done::from_counts(among.names.len(), failed))
}

#[derive(Serialize)]
struct Json<'a> {
    photo: &'a str,
    /// Most similar first.
    neighbours: Vec<JsonNeighbour<'a>>,
}

#[derive(Serialize)]
struct JsonNeighbour<'a> {
    path: &'a str,
    similarity: f64,
}

/// Embeds the images of a folder; gives the number of those that failed, too.
fn embedded(embedder: &Embedder, folder: &PathBuf) -> Result<(Embeddings, usize)> {
    let Inputs { sources, failed, .. } = inputs(&[folder])?;
    let progress = messages::progress(sources.len(), false);
    failed.iter().for_each(|failed| messages::failed(&progress, failed));
    let (mut names, mut values, mut failures) = (Vec::new(), Vec::new(), failed.len());
    for (path, embedding) in embedder.embed_files(sources) {
        match embedding {
            Ok(row) => {
                names.push(path.to_string_lossy().into_owned());
                values.extend(row);
            }
            Err(error) => {
                failures += 1;
                messages::failed(&progress, &Failed { path, error });
            }
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    let shape = [names.len(), values.len() / names.len().max(1)];
    Ok((Embeddings { names, values: Array2::from_shape_vec(shape, values)? }, failures))
}

/// Reads embeddings from a file, and checks that they are this model's.
fn kept(embedder: &Embedder, path: &Path, size: usize) -> Result<Embeddings> {
    let among = Embeddings::read(path)?;
    let other = "it was written with another model: run `infer embed` again";
    let found = among.values.ncols();
    ensure!(
        found == size || among.names.is_empty(),
        "{}: rows of {found} values, but the model has {size}: {other}",
        path.display()
    );
    let there = among.names.iter().zip(among.values.outer_iter()).find(|(name, _)| Path::new(name).is_file());
    match there {
        Some((name, row)) => {
            // An image that was replaced or damaged says nothing about the model.
            if let Ok(again) = embedder.embed_file(name) {
                let same = cosine(&again, &row.to_vec());
                if same < SAME {
                    bail!(
                        "{}: {name} has another embedding now (cosine {same:.4}): the image was replaced, or {other}",
                        path.display()
                    );
                }
            }
        }
        None => messages::note(format_args!(
            "not checked that {} was written with this model: none of its images is there",
            path.display()
        )),
    }
    Ok(among)
}
