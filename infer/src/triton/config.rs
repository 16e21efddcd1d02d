//! Configurations of models in the text format of Triton's [`ModelConfig`].
//!
//! [`ModelConfig`]: https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto

use std::fmt::{self, Write};

use ferronnx_models::onnx::{Dim, Element, TensorInfo};

use super::LABELS;
use super::model::Interface;

/// First line of a configuration that was written here.
pub(super) const MARK: &str = "# Written by `infer triton-repo`.\n";

/// Configuration of a model, which [`Display`](fmt::Display) writes as text.
pub(super) struct Config<'a> {
    pub(super) name: &'a str,
    pub(super) model: &'a Interface,
    /// True if Triton serves all versions, not only the highest.
    pub(super) all_versions: bool,
}

impl fmt::Display for Config<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Interface { input, outputs, max_batch, labelled } = self.model;
        let most = max_batch.map_or(0, Into::into);
        f.write_str(MARK)?;
        writeln!(f, "name: {}", Quoted(self.name))?;
        writeln!(f, "platform: \"onnxruntime_onnx\"\nmax_batch_size: {most}")?;
        let skipped = usize::from(max_batch.is_some());
        writeln!(f, "input [\n  {{\n{}  }}\n]\noutput [", Port { tensor: input, skipped, labels: false })?;
        for (index, output) in outputs.iter().enumerate() {
            let labels = labelled.as_ref() == Some(&output.name);
            let comma = if index + 1 < outputs.len() { "," } else { "" };
            writeln!(f, "  {{\n{}  }}{comma}", Port { tensor: output, skipped, labels })?;
        }
        f.write_str("]\n")?;
        if self.all_versions {
            f.write_str("version_policy { all { } }\n")?;
        }
        if most > 1 {
            f.write_str("dynamic_batching { }\n")?;
        }
        Ok(())
    }
}

/// Input or output of a model, without the first `skipped` dimensions: the batch.
struct Port<'a> {
    tensor: &'a TensorInfo,
    skipped: usize,
    labels: bool,
}

impl fmt::Display for Port<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TensorInfo { name, element, shape } = self.tensor;
        writeln!(f, "    name: {}\n    data_type: {}", Quoted(name), data_type(*element))?;
        let size = |dim: &Dim| match dim {
            Dim::Fixed(size) => size.to_string(),
            Dim::Symbol(_) => "-1".into(),
        };
        let dims: Vec<_> = shape.iter().skip(self.skipped).map(size).collect();
        match dims.is_empty() {
            // Triton has no tensors without dimensions, but can reshape to one.
            true => writeln!(f, "    dims: [ 1 ]\n    reshape {{ shape: [ ] }}")?,
            false => writeln!(f, "    dims: [ {} ]", dims.join(", "))?,
        }
        if self.labels {
            writeln!(f, "    label_filename: {}", Quoted(LABELS))?;
        }
        Ok(())
    }
}

/// Name of an element type; a session takes and gives these only.
fn data_type(element: Element) -> &'static str {
    match element {
        Element::Uint8 => "TYPE_UINT8",
        Element::Float16 => "TYPE_FP16",
        Element::Double => "TYPE_FP64",
        _ => "TYPE_FP32",
    }
}

/// String of the text format, quoted and escaped.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for letter in self.0.chars() {
            match letter {
                '"' | '\\' => write!(f, "\\{letter}")?,
                // Octal, always three digits, so that a digit that follows is not taken for a part of it.
                control if control.is_ascii_control() => write!(f, "\\{:03o}", control as u32)?,
                other => f.write_char(other)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn tensor(name: &str, element: Element, shape: &[Option<usize>]) -> TensorInfo {
        let dim = |size: &Option<usize>| size.map_or(Dim::Symbol("batch".into()), Dim::Fixed);
        TensorInfo { name: name.into(), element, shape: shape.iter().map(dim).collect() }
    }

    #[test]
    fn batches_labels_and_all_versions() {
        let model = Interface {
            input: tensor("input", Element::Float, &[None, Some(3), Some(32), Some(32)]),
            outputs: vec![
                tensor("logits", Element::Float, &[None, Some(10)]),
                tensor("score", Element::Float16, &[None]),
            ],
            max_batch: NonZeroU32::new(8),
            labelled: Some("logits".into()),
        };
        let config = Config { name: "photos", model: &model, all_versions: true };
        insta::assert_snapshot!(config.to_string(), @r#"
        # Written by `infer triton-repo`.
        name: "photos"
        platform: "onnxruntime_onnx"
        max_batch_size: 8
        input [
          {
            name: "input"
            data_type: TYPE_FP32
            dims: [ 3, 32, 32 ]
          }
        ]
        output [
          {
            name: "logits"
            data_type: TYPE_FP32
            dims: [ 10 ]
            label_filename: "labels.txt"
          },
          {
            name: "score"
            data_type: TYPE_FP16
            dims: [ 1 ]
            reshape { shape: [ ] }
          }
        ]
        version_policy { all { } }
        dynamic_batching { }
        "#);
    }

    #[test]
    fn a_fixed_batch_is_a_dimension() {
        let model = Interface {
            input: tensor("images", Element::Uint8, &[Some(4), Some(8), Some(8), Some(3)]),
            outputs: vec![tensor("y", Element::Double, &[Some(4), Some(2)])],
            max_batch: None,
            labelled: None,
        };
        let config = Config { name: "x", model: &model, all_versions: false };
        insta::assert_snapshot!(config.to_string(), @r#"
        # Written by `infer triton-repo`.
        name: "x"
        platform: "onnxruntime_onnx"
        max_batch_size: 0
        input [
          {
            name: "images"
            data_type: TYPE_UINT8
            dims: [ 4, 8, 8, 3 ]
          }
        ]
        output [
          {
            name: "y"
            data_type: TYPE_FP64
            dims: [ 4, 2 ]
          }
        ]
        "#);
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(Quoted("a\"b\\c\n1/ä").to_string(), r#""a\"b\\c\0121/ä""#);
    }
}
