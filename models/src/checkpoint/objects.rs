//! Objects that the pickle of a state dict may contain.

use safetensors::Dtype;

use super::tensor::{Layout, MAX_DIMENSIONS};

/// Value on the stack of the pickle machine.
///
/// Containers and tensors lie in [`Objects`]. Values are copied freely and never nested, so cycles and deep nesting do no
/// harm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// None, a float, or an integer beyond 128 bits, which weights do not need.
    Other,
    /// Integer or boolean.
    Int(i128),
    /// Text, or the bytes of a Python 2 string.
    Text(&'a str),
    /// Known function or class.
    Global(Global),
    /// Index in [`Objects`].
    Object(usize),
}

/// Container, storage or tensor.
#[derive(Debug, Clone, PartialEq)]
pub enum Object<'a> {
    /// List or tuple.
    Sequence(Vec<Value<'a>>),
    /// Dict, plain or ordered.
    Dict(Vec<(Value<'a>, Value<'a>)>),
    /// Storage outside the pickle.
    Storage(StorageId<'a>),
    /// Tensor: a view of a storage.
    Tensor(Tensor<'a>),
}

/// Storage, by its name in the file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StorageId<'a> {
    /// Name of the storage.
    pub key: &'a str,
    /// Type of its values.
    pub dtype: Dtype,
}

/// Tensor whose values have not been read.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor<'a> {
    /// Storage of its values.
    pub storage: StorageId<'a>,
    /// Position of its values in the storage.
    pub layout: Layout,
}

/// Functions and classes that weights need; no others are known.
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
    /// Class of storages, which is named and not called.
    Storage(Dtype),
}

impl Global {
    /// Looks up a function or class by the names that pickles write.
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

/// Objects that a pickle has built.
#[derive(Debug, Default)]
pub struct Objects<'a>(Vec<Object<'a>>);

impl<'a> Objects<'a> {
    /// Adds an object and returns a value that refers to it.
    pub fn add(&mut self, object: Object<'a>) -> Value<'a> {
        self.0.push(object);
        Value::Object(self.0.len() - 1)
    }

    /// Returns the unpickled Python object that a stack value refers to; `None` for plain numbers and strings.
    pub fn get(&self, value: Value<'a>) -> Option<&Object<'a>> {
        match value {
            Value::Object(place) => self.0.get(place),
            _ => None,
        }
    }

    /// Returns the unpickled Python object that a stack value refers to, mutably; `None` for plain numbers and strings.
    pub fn get_mut(&mut self, value: Value<'a>) -> Option<&mut Object<'a>> {
        match value {
            Value::Object(place) => self.0.get_mut(place),
            _ => None,
        }
    }

    /// Returns the elements of a list or tuple.
    pub fn sequence(&self, value: Value<'a>) -> Option<&[Value<'a>]> {
        match self.get(value)? {
            Object::Sequence(elements) => Some(elements),
            _ => None,
        }
    }

    /// Returns the entries of a dict.
    pub fn dict(&self, value: Value<'a>) -> Option<&[(Value<'a>, Value<'a>)]> {
        match self.get(value)? {
            Object::Dict(entries) => Some(entries),
            _ => None,
        }
    }

    /// Lists all storages.
    pub fn storages(&self) -> impl Iterator<Item = StorageId<'a>> {
        self.0.iter().filter_map(|object| match object {
            Object::Storage(storage) => Some(*storage),
            _ => None,
        })
    }

    /// Calls `function` with `arguments`; none if it does not take these.
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

    /// Creates the storage that `("storage", class, key, device, length)` names.
    ///
    /// A sixth element must be None: it was for views of storages, which PyTorch 0.4 removed.
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
        // The length is checked before copying: a file could refer to one long list very often.
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
