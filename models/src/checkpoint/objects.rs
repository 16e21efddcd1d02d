//! What the pickle of a state dict is made of.

use safetensors::Dtype;

use super::tensor::{Layout, MAX_DIMENSIONS};

/// A value on the stack of the pickle machine.
///
/// Containers and tensors lie in [`Objects`]: values are copied freely, and nothing is nested, so neither a cycle nor
/// a depth can do harm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// None, a float, or an integer beyond 128 bits: nothing that weights are made of.
    Other,
    /// An integer or a boolean.
    Int(i128),
    /// Text, or the bytes of a Python 2 string.
    Text(&'a str),
    /// One of the known names.
    Global(Global),
    /// Place in [`Objects`].
    Object(usize),
}

/// What is larger than a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Object<'a> {
    /// A list or a tuple.
    Sequence(Vec<Value<'a>>),
    /// A dict, plain or ordered.
    Dict(Vec<(Value<'a>, Value<'a>)>),
    /// Values outside the pickle.
    Storage(StorageId<'a>),
    /// A view of a storage.
    Tensor(Tensor<'a>),
}

/// A storage, by its name in the file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StorageId<'a> {
    /// Its name.
    pub key: &'a str,
    /// What it is made of.
    pub dtype: Dtype,
}

/// A tensor whose values have not been looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor<'a> {
    /// Where its values are.
    pub storage: StorageId<'a>,
    /// Which of them.
    pub layout: Layout,
}

/// The functions and classes that weights need, and the only ones there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Global {
    /// `OrderedDict()`
    OrderedDict,
    /// `torch.Size(sizes)`
    Size,
    /// `_rebuild_tensor(storage, offset, shape, strides)`; version 2 adds flags and hooks.
    RebuildTensor,
    /// `_rebuild_parameter(tensor, flags...)`
    RebuildParameter,
    /// A class of storages, which is not called but named.
    Storage(Dtype),
}

impl Global {
    /// The name as pickles write it.
    pub fn find(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch", "Size") => Self::Size,
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                Self::RebuildParameter
            }
            ("torch", class) => Self::Storage(match class.strip_suffix("Storage")? {
                "Float" => Dtype::F32,
                "Half" => Dtype::F16,
                "BFloat16" => Dtype::BF16,
                "Double" => Dtype::F64,
                "Long" => Dtype::I64,
                "Int" => Dtype::I32,
                "Short" => Dtype::I16,
                "Char" => Dtype::I8,
                "Byte" => Dtype::U8,
                "Bool" => Dtype::BOOL,
                _ => return None,
            }),
            _ => return None,
        })
    }
}

/// Everything a pickle has built.
#[derive(Debug, Default)]
pub struct Objects<'a>(Vec<Object<'a>>);

impl<'a> Objects<'a> {
    /// Keeps an object.
    pub fn add(&mut self, object: Object<'a>) -> Value<'a> {
        self.0.push(object);
        Value::Object(self.0.len() - 1)
    }

    /// The object that a value stands for.
    pub fn get(&self, value: Value<'a>) -> Option<&Object<'a>> {
        match value {
            Value::Object(place) => self.0.get(place),
            _ => None,
        }
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, value: Value<'a>) -> Option<&mut Object<'a>> {
        match value {
            Value::Object(place) => self.0.get_mut(place),
            _ => None,
        }
    }

    /// The elements of a list or tuple.
    pub fn sequence(&self, value: Value<'a>) -> Option<&[Value<'a>]> {
        match self.get(value)? {
            Object::Sequence(elements) => Some(elements),
            _ => None,
        }
    }

    /// The entries of a dict.
    pub fn dict(&self, value: Value<'a>) -> Option<&[(Value<'a>, Value<'a>)]> {
        match self.get(value)? {
            Object::Dict(entries) => Some(entries),
            _ => None,
        }
    }

    /// All storages that were named.
    pub fn storages(&self) -> impl Iterator<Item = StorageId<'a>> {
        self.0.iter().filter_map(|object| match object {
            Object::Storage(storage) => Some(*storage),
            _ => None,
        })
    }

    /// What `function` makes of `arguments`; nothing when it does not take these.
    pub fn call(&mut self, function: Value<'a>, arguments: Value<'a>) -> Option<Value<'a>> {
        let Value::Global(function) = function else { return None };
        match (function, self.sequence(arguments)?) {
            (Global::OrderedDict, []) => Some(self.add(Object::Dict(Vec::new()))),
            (Global::Size, &[sizes]) => self.sequence(sizes).is_some().then_some(sizes),
            (Global::RebuildParameter, &[tensor, ..]) => {
                matches!(self.get(tensor)?, Object::Tensor(_)).then_some(tensor)
            }
            (Global::RebuildTensor, &[storage, offset, shape, strides, ..]) => {
                let Object::Storage(storage) = *self.get(storage)? else { return None };
                let layout = Layout {
                    offset: size(offset)?,
                    shape: self.sizes(shape)?,
                    strides: self.sizes(strides)?,
                };
                Some(self.add(Object::Tensor(Tensor { storage, layout })))
            }
            _ => None,
        }
    }

    /// The storage that `("storage", class, key, device, length)` names.
    ///
    /// A sixth element is None: views of storages, which it was for, were given up in PyTorch 0.4.
    pub fn storage(&mut self, name: Value<'a>) -> Option<Value<'a>> {
        let name = self.sequence(name)?;
        let (&[Value::Text("storage"), Value::Global(Global::Storage(dtype)), Value::Text(key), _, _], rest) =
            name.split_first_chunk()?
        else {
            return None;
        };
        matches!(rest, [] | [Value::Other]).then(|| self.add(Object::Storage(StorageId { key, dtype })))
    }

    fn sizes(&self, sizes: Value<'a>) -> Option<Vec<usize>> {
        // Checked before anything is copied: a file could name one long list very often.
        let sizes = self.sequence(sizes).filter(|sizes| sizes.len() <= MAX_DIMENSIONS)?;
        sizes.iter().map(|&value| size(value)).collect()
    }
}

fn size(value: Value<'_>) -> Option<usize> {
    match value {
        Value::Int(size) => size.try_into().ok(),
        _ => None,
    }
}
