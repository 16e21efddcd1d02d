//! Checks of a model file before Triton gets it: what it takes and gives, its labels, and what is left to clients.

use std::fmt;
use std::fs;
use std::num::NonZeroU32;
use std::path::{Component, Path, PathBuf};

use ferronnx_models::card::{Activation, CARD_KEY, InputForm, ModelCard};
use ferronnx_models::certificate::CERTIFICATE_KEY;
use ferronnx_models::onnx::external_data::locations;
use ferronnx_models::onnx::{Dim, Element, Model, TensorInfo};

use super::{MODEL, Settings, TritonError};
use crate::assume::values_per_image;
use crate::classifier::read_card;
use crate::error::{Error, ModelError, few};
use crate::foreign::Foreign;
use crate::session::{self, Session};
use crate::verify::Verification;

/// Inputs, outputs and batches of a model, as Triton is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) input: TensorInfo,
    pub(super) outputs: Vec<TensorInfo>,
    /// Largest batch; none if the model takes one size only.
    pub(super) max_batch: Option<NonZeroU32>,
    /// Output that the labels belong to.
    pub(super) labelled: Option<String>,
}

/// Model file that Triton can serve.
pub(super) struct Checked {
    path: PathBuf,
    content: Vec<u8>,
    /// Files with weights, relative to the folder of the model.
    beside: Vec<String>,
    pub(super) interface: Interface,
    pub(super) labels: Option<Vec<String>>,
    pub(super) notes: Vec<Note>,
}

/// Fact that users of a model on Triton should know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// Clients prepare images, to this form.
    Images(InputForm),
    /// Clients make probabilities of the scores.
    Scores(Activation),
    /// The labels of the classes are not known.
    NoLabels,
    /// Labels are not written: one score stands for two classes, and Triton would give the first label to every image.
    OneScore,
    /// Outputs that are not tensors of floats are left out.
    LeftOut(Vec<String>),
    /// The batch size of an input or output is fixed.
    FixedBatch,
    /// An image's result depends on the other images of a batch.
    OneByOne,
    /// Nothing shows whether the file is what was exported.
    NoCertificate,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Images(InputForm::Float) => f.write_str(
                "clients decode, resize and normalise images themselves: a file that takes bytes leaves them less to do",
            ),
            Self::Images(InputForm::Uint8) => {
                f.write_str("clients decode and resize images themselves; the file normalises them")
            }
            Self::Scores(activation) => {
                write!(f, "gives scores; clients make probabilities of them ({activation})")
            }
            Self::NoLabels => f.write_str("has no labels: a labels.txt beside the model file names the classes"),
            Self::OneScore => f.write_str(
                "labels are left out: one score stands for two classes, and Triton knows one label a score",
            ),
            Self::LeftOut(outputs) => {
                write!(f, "outputs that are not tensors of floats are left out: {}", few(outputs))
            }
            Self::FixedBatch => f.write_str(
                "not all of its inputs and outputs begin with a batch of any size, so that Triton makes no batches",
            ),
            Self::OneByOne => {
                f.write_str("results depend on the other images of a batch, so that Triton makes no batches")
            }
            Self::NoCertificate => f.write_str("has no certificate: nothing shows whether the file is unchanged"),
        }
    }
}

impl Checked {
    /// Reads the model at `path`, verifies its certificate if it has one, and builds a session to learn its interface.
    pub(super) fn read(path: &Path, settings: &Settings) -> Result<Self, TritonError> {
        let content = session::read(path)?;
        let not_onnx = || Error::from(ModelError::NotOnnx { bytes: content.len() as u64 }).at(path);
        let mut graph = Model::decode(content.clone()).map_err(|_| not_onnx())?;
        if graph.graph.nodes.iter().any(|node| node.op == "ZipMap") {
            return Err(TritonError::Maps(path.into()));
        }
        let beside = locations(&mut graph).map_err(|_| not_onnx())?;
        let outputs: Vec<String> = graph.graph.outputs.iter().map(|output| output.name.to_string()).collect();
        drop(graph);
        let session = Session::from_content(path, &content, &settings.session)?;
        let mut notes = vec![Note::Images(match session.input().element {
            Element::Uint8 => InputForm::Uint8,
            _ => InputForm::Float,
        })];
        let is_given = |name: &String| session.outputs().iter().any(|output| output.name == *name);
        let left_out: Vec<String> = outputs.into_iter().filter(|name| !is_given(name)).collect();
        if !left_out.is_empty() {
            notes.push(Note::LeftOut(left_out));
        }
        match session.metadata(CERTIFICATE_KEY) {
            Some(_) => verify(path, &content, &session)?,
            None => notes.push(Note::NoCertificate),
        }
        let facts = Facts::of(&session).map_err(|error| error.at(path))?;
        let activation = facts.card.as_ref().map(|card| card.activation);
        notes.extend(activation.filter(|step| *step != Activation::None).map(Note::Scores));
        let (interface, labels) = facts.interface(&session, settings.max_batch, &mut notes);
        if let Some(label) = labels.iter().flatten().find(|label| label.contains(['\n', '\r'])) {
            return Err(TritonError::Label { path: path.into(), label: label.clone() });
        }
        Ok(Self { path: path.into(), content, beside, interface, labels, notes })
    }

    /// Tells whether Triton can serve both as versions of one model, which has one configuration.
    pub(super) fn is_served_like(&self, other: &Self) -> bool {
        self.interface == other.interface && self.labels == other.labels
    }

    /// Writes the model into the folder of its version, with the files of its weights.
    pub(super) fn copy_to(&self, version: &Path) -> Result<(), TritonError> {
        for location in &self.beside {
            let name = Path::new(location);
            let outside = || TritonError::Weights { path: self.path.clone(), location: location.clone() };
            if !name.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
                return Err(outside());
            }
            let to = version.join(name);
            let parent = to.parent().unwrap_or(version);
            fs::create_dir_all(parent).map_err(TritonError::io(parent))?;
            fs::copy(self.path.with_file_name("").join(name), &to).map_err(TritonError::io(&to))?;
        }
        let to = version.join(MODEL);
        fs::write(&to, &self.content).map_err(TritonError::io(&to))
    }
}

/// Recomputes the certificate of the file.
fn verify(path: &Path, content: &[u8], session: &Session) -> Result<(), TritonError> {
    let found = Verification::of_session(content, session, None).map_err(|error| error.at(path))?;
    match found.failures() {
        failures if failures.is_empty() => Ok(()),
        failures => Err(TritonError::Certificate { path: path.into(), failures }),
    }
}

/// Facts about a model that its graph does not tell.
struct Facts {
    card: Option<ModelCard>,
    labels: Option<Vec<String>>,
    one_by_one: bool,
}

impl Facts {
    fn of(session: &Session) -> crate::Result<Self> {
        if session.metadata(CARD_KEY).is_some() {
            let card = read_card(session)?;
            return Ok(Self { labels: Some(card.labels.clone()), card: Some(card), one_by_one: false });
        }
        let facts = Foreign::of(session)?.facts;
        let labels = facts.labels.map(|stated| stated.value);
        Ok(Self { card: None, labels, one_by_one: facts.one_by_one })
    }

    /// Interface of the model, and the labels to write.
    fn interface(
        &self,
        session: &Session,
        max_batch: NonZeroU32,
        notes: &mut Vec<Note>,
    ) -> (Interface, Option<Vec<String>>) {
        let (input, outputs) = (session.input().clone(), session.outputs().to_vec());
        let is_open = |tensor: &TensorInfo| matches!(tensor.shape.first(), Some(Dim::Symbol(_)));
        let max_batch = match is_open(&input) && outputs.iter().all(is_open) {
            true if self.one_by_one => {
                notes.push(Note::OneByOne);
                Some(NonZeroU32::MIN)
            }
            true => Some(max_batch),
            false => {
                notes.push(Note::FixedBatch);
                None
            }
        };
        let labelled = self.labelled(&outputs, notes);
        let labels = labelled.as_ref().and(self.labels.clone());
        (Interface { input, outputs, max_batch, labelled }, labels)
    }

    /// Output that has a value for each label.
    fn labelled(&self, outputs: &[TensorInfo], notes: &mut Vec<Note>) -> Option<String> {
        let Some(labels) = &self.labels else {
            notes.push(Note::NoLabels);
            return None;
        };
        // A card names the output with the scores, else it is the first.
        let scores = self.card.as_ref().map(|card| card.scores().unwrap_or(&outputs[0].name));
        let mut candidates = outputs.iter().filter(|output| scores.is_none_or(|name| output.name == name));
        let found = candidates.clone().find(|output| values_per_image(output) == Some(labels.len()));
        if found.is_none() {
            let one = candidates.any(|output| labels.len() == 2 && values_per_image(output) == Some(1));
            notes.push(if one { Note::OneScore } else { Note::NoLabels });
        }
        found.map(|output| output.name.clone())
    }
}
