//! Models of other tools: what their files, and files beside them, say about labels, preprocessing and outputs.

use ferronnx_models::card::{InputForm, Preprocessing, labels_in};
use ferronnx_models::onnx::Summary;

use crate::assume::{Facts, Meaning, Stated};
use crate::error::Result;
use crate::model_error::ModelError;
use crate::session::{self, Session};

/// What is known about a model of another tool.
pub(crate) struct Foreign {
    pub(crate) facts: Facts,
    head: Option<String>,
}

impl Foreign {
    /// Reads what the file of `session`, and the files beside it, say.
    pub(crate) fn of(session: &Session) -> Result<Self> {
        let mut facts = Facts::default();
        for key in ["names", "class_names"] {
            let labels = session.metadata(key).and_then(|text| labels_in(&text));
            let stated = labels.map(|value| Stated { value, source: format!("`{key}` in the metadata") });
            facts.labels = facts.labels.or(stated);
        }
        let bytes = session.path().map(session::read).transpose()?;
        let summary = bytes.and_then(|bytes| Summary::of_file(&bytes).ok());
        Ok(Self { facts, head: summary.and_then(|summary| summary.head) })
    }

    /// Tells what the values of `output` mean.
    pub(crate) fn meaning(
        &self,
        _session: &Session,
        _output: &str,
        _preprocessing: &Preprocessing,
        _form: InputForm,
    ) -> std::result::Result<Stated<Meaning>, ModelError> {
        let value =
            if self.head.as_deref() == Some("Softmax") { Meaning::Probabilities } else { Meaning::Logits };
        Ok(Stated { value, source: "graph".into() })
    }
}
