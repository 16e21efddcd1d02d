//! What is in a model's file, and where it would run.

use std::path::Path;

use ferronnx_models::card::{CARD_KEY, ModelCard};
use ferronnx_models::certificate::CERTIFICATE_KEY;
use ferronnx_models::onnx::Summary;
use ferronnx_models::onnx::fuse::Fusion;
use indexmap::IndexMap;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::session::{self, Options, Session};

/// What is in a model's file, and where it would run.
#[derive(Debug, Serialize)]
pub struct Inspection {
    /// Size of the file.
    pub bytes: u64,
    /// The graph, without its weights.
    pub graph: Summary,
    /// The card; none where there is none that can be read.
    pub card: Option<ModelCard>,
    /// Why there is no card.
    pub no_card: Option<String>,
    /// Whether there is a certificate, which [`verify`](crate::verify) recomputes.
    pub certificate: bool,
    /// How many operators each provider was given when ONNX Runtime divided the graph.
    pub placement: Option<IndexMap<String, usize>>,
    /// Which attention is computed by one operator, and which is not, and why.
    pub attention: Option<Fusion>,
    /// Why it does not run here.
    pub no_session: Option<Error>,
    /// Why it does not run where it should have.
    pub warning: Option<String>,
}

impl Inspection {
    /// Of the file at `path`; the session of `options` says where it would run.
    ///
    /// # Errors
    /// When the file cannot be read or is no ONNX file. That it has no card or cannot run is part of the result.
    pub fn of_file(path: &Path, options: &Options) -> Result<Self> {
        let content = session::read(path)?;
        let graph = Summary::of_file(&content).map_err(|_| {
            let reason = format!("not an ONNX model (is it complete? {} bytes)", content.len());
            Error::Model { path: Some(path.into()), reason }
        })?;
        let options = Options { placement: true, ..options.clone() };
        let session = Session::from_bytes(&content, &options);
        let card = match &session {
            Ok(session) => session.metadata(CARD_KEY),
            Err(_) => ferronnx_models::onnx::metadata(&content, CARD_KEY),
        };
        let card = card.ok_or_else(|| format!("there is none (`{CARD_KEY}`)"));
        let card = card.and_then(|text| ModelCard::from_json(&text).map_err(|error| error.to_string()));
        let warning = session.as_ref().ok().and_then(|session| session.warning().map(str::to_owned));
        let attention = session.as_ref().ok().map(|session| session.fusion().clone());
        let placement = session.and_then(|session| session.placement());
        let (placement, no_session) = split(placement);
        let (card, no_card) = split(card);
        let certificate = graph.metadata.contains_key(CERTIFICATE_KEY);
        let bytes = content.len() as u64;
        Ok(Self { bytes, graph, card, no_card, certificate, placement, attention, no_session, warning })
    }
}

fn split<T, E>(result: std::result::Result<T, E>) -> (Option<T>, Option<E>) {
    match result {
        Ok(value) => (Some(value), None),
        Err(error) => (None, Some(error)),
    }
}
