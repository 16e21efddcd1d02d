//! Types of values: tensors with their dimensions, and what else the format has.

use super::element::Element;
use super::proto::tensor_shape_proto::{Dimension, dimension::Value as Size};
use super::proto::type_proto::{Tensor as TensorType, Value as Kind};
use super::proto::{TensorShapeProto, TypeProto};
use super::text::{Metadata, Text};

/// Size of a dimension.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Dim {
    /// Always of this size.
    Fixed(usize),
    /// Chosen when the file runs; the name is empty where the file has none.
    Symbol(String),
}

/// A value with its type: an input, an output, or one in the middle of a graph.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ValueInfo {
    /// Name of the value.
    pub name: Text,
    /// Type of the value, if it is known.
    pub kind: Option<Type>,
    /// Description for people.
    pub doc_string: Text,
    /// Entries for other programs.
    pub metadata: Metadata,
}

/// Type of a value: a tensor, a sequence, a map, an optional value or a sparse tensor.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Type(pub(super) TypeProto);

/// Name, element type and dimensions of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name of the tensor.
    pub name: String,
    /// Type of its elements.
    pub element: Element,
    /// Sizes of its dimensions.
    pub shape: Vec<Dim>,
}

impl ValueInfo {
    /// A tensor.
    pub fn tensor(name: &str, element: Element, shape: impl IntoIterator<Item = Dim>) -> Self {
        Self {
            name: name.into(),
            kind: Some(Type::tensor(element, Some(shape.into_iter()))),
            ..Self::default()
        }
    }

    /// Element type and dimensions, if the value is a tensor whose rank is known.
    pub fn as_tensor(&self) -> Option<TensorInfo> {
        let kind = self.kind.as_ref()?;
        Some(TensorInfo { name: self.name.to_string(), element: kind.element()?, shape: kind.shape()? })
    }

    /// Type of the elements, if the value is a tensor.
    pub fn element(&self) -> Option<Element> {
        self.kind.as_ref()?.element()
    }

    /// Sets the type of the elements, if the value is a tensor.
    pub(super) fn set_element(&mut self, element: Element) {
        if let Some(Type(TypeProto { value: Some(Kind::TensorType(tensor)), .. })) = &mut self.kind {
            tensor.elem_type = Some(element.code());
        }
    }
}

impl From<TensorInfo> for ValueInfo {
    fn from(TensorInfo { name, element, shape }: TensorInfo) -> Self {
        Self::tensor(&name, element, shape)
    }
}

impl Type {
    /// A tensor; one whose rank is unknown has no `shape`.
    pub fn tensor(element: Element, shape: Option<impl Iterator<Item = Dim>>) -> Self {
        let dim = |dim: Dim| Dimension {
            value: match dim {
                Dim::Fixed(size) => Some(Size::DimValue(size as i64)),
                Dim::Symbol(name) => Some(Size::DimParam(name)),
            },
            ..Dimension::default()
        };
        let shape = shape.map(|shape| TensorShapeProto { dim: shape.map(dim).collect() });
        let tensor = TensorType { elem_type: Some(element.code()), shape };
        Self(TypeProto { value: Some(Kind::TensorType(tensor)), ..TypeProto::default() })
    }

    /// Type of the elements of a tensor.
    pub fn element(&self) -> Option<Element> {
        self.as_tensor().map(|tensor| Element::from_code(tensor.elem_type()))
    }

    /// Dimensions of a tensor whose rank is known. A size that is absent or negative reads as a symbol without name.
    pub fn shape(&self) -> Option<Vec<Dim>> {
        let dim = |dim: &Dimension| match &dim.value {
            Some(Size::DimValue(size)) => usize::try_from(*size).map_or(Dim::Symbol("".into()), Dim::Fixed),
            Some(Size::DimParam(name)) => Dim::Symbol(name.clone()),
            None => Dim::Symbol("".into()),
        };
        Some(self.as_tensor()?.shape.as_ref()?.dim.iter().map(dim).collect())
    }

    fn as_tensor(&self) -> Option<&TensorType> {
        match &self.0.value {
            Some(Kind::TensorType(tensor)) => Some(tensor),
            _ => None,
        }
    }
}
