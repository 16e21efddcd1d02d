//! Inspection of a model file: its content, and where it would run.

use std::path::Path;

use ferronnx_models::card::{CARD_KEY, ModelCard};
use ferronnx_models::certificate::CERTIFICATE_KEY;
use ferronnx_models::onnx::Summary;
use ferronnx_models::onnx::fuse::Fusion;
use indexmap::IndexMap;
use serde::Serialize;

use crate::assume::{Assumed, Assumptions};
use crate::classifier::card_of;
use crate::error::{Error, ModelError, Result, chain};
use crate::session::{self, Options, Session};

/// Content of a model file, and where it would run.
#[derive(Debug, Serialize)]
pub struct Inspection {
    /// Size of the file, in bytes.
    pub bytes: u64,
    /// Summary of the graph, without its weights.
    pub graph: Summary,
    /// Model card; none if there is none that can be read.
    pub card: Option<ModelCard>,
    /// Reason why there is no card.
    pub no_card: Option<String>,
    /// Assumptions about a model without a card, if all that is needed is known.
    pub assumed: Option<Vec<Assumed>>,
    /// Reason why images cannot be prepared for a model without a card.
    pub unknown: Option<Error>,
    /// True if the file has a certificate, which [`verify`](crate::verify) recomputes.
    pub certificate: bool,
    /// Number of operators that each provider would run.
    pub placement: Option<IndexMap<String, usize>>,
    /// Use of CUDA graphs: when passes are recorded, or why none are.
    pub cuda_graphs: Option<String>,
    /// Note that another form of the network would be faster on this device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Report on attention: which blocks run as one operator, and why others do not.
    pub attention: Option<Fusion>,
    /// Reason why the model does not run here.
    pub no_session: Option<Error>,
    /// Reason why it does not run on a GPU that ONNX Runtime was built for.
    pub warning: Option<String>,
}

impl Inspection {
    /// Inspects the file at `path`, and builds a session with `options` to see where it would run.
    ///
    /// # Errors
    /// When the file cannot be read or is not an ONNX file. A missing card, or a model that cannot run, is part of the
    /// result.
    pub fn of_file(path: impl AsRef<Path>, options: &Options) -> Result<Self> {
        let path = path.as_ref();
        let content = session::read(path)?;
        let bytes = content.len() as u64;
        let graph = Summary::of_file(&content);
        let graph = graph.map_err(|_| Error::from(ModelError::NotOnnx { bytes }).at(path))?;
        let session = Session::from_file(path, &options.clone().placement(true));
        let card = match &session {
            Ok(session) => session.metadata(CARD_KEY),
            Err(_) => ferronnx_models::onnx::metadata(&content, CARD_KEY),
        };
        let card = card.ok_or_else(|| format!("there is none (`{CARD_KEY}`)"));
        let card = card.and_then(|text| ModelCard::from_json(&text).map_err(|error| chain(&error)));
        let warning = session.as_ref().ok().and_then(|session| session.warning().map(str::to_owned));
        let foreign = session.as_ref().ok().filter(|session| session.metadata(CARD_KEY).is_none());
        let resolved = foreign.map(|session| card_of(session, &Assumptions::default()));
        let (assumed, unknown) = resolved.map_or((None, None), split);
        let assumed = assumed.map(|resolved| resolved.assumed);
        let attention = session.as_ref().ok().map(|session| session.fusion().clone());
        let cuda_graphs = session.as_ref().ok().map(Session::cuda_graphs);
        let note = session.as_ref().ok().and_then(|session| session.note().map(str::to_owned));
        let placement = session.and_then(|session| session.placement());
        let (placement, no_session) = split(placement);
        let (card, no_card) = split(card);
        let certificate = graph.metadata.contains_key(CERTIFICATE_KEY);
        Ok(Self {
            bytes,
            graph,
            card,
            no_card,
            assumed,
            unknown,
            certificate,
            placement,
            cuda_graphs,
            note,
            attention,
            no_session,
            warning,
        })
    }
}

/// Splits a result into its value and its error.
fn split<T, E>(result: std::result::Result<T, E>) -> (Option<T>, Option<E>) {
    match result {
        Ok(value) => (Some(value), None),
        Err(error) => (None, Some(error)),
    }
}
