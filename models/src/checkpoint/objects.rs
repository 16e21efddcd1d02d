//! Objects in a pickle: containers, storages, tensors, and instances of classes that are never created.

use safetensors::Dtype;

use super::tensor::Layout;

/// Value on the stack of the pickle machine.
///
/// Containers and tensors lie in [`Objects`]. Values are copied freely and never nested, so cycles and deep nesting do no
/// harm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// None, a float, or something else that no tensor depends on.
    Other,
    /// Integer or boolean.
    Int(i128),
    /// Text, or a Python 2 string that is valid UTF-8.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// Function or class, by name only.
    Global(Global<'a>),
    /// Index in [`Objects`].
    Object(usize),
}

/// Name of a function or class, which is never imported or called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Global<'a> {
    /// Module that defines it.
    pub module: &'a str,
    /// Name in the module.
    pub name: &'a str,
}

/// Container, storage, tensor or instance.
#[derive(Debug, Clone, PartialEq)]
pub enum Object<'a> {
    /// List, tuple or set.
    Sequence(Vec<Value<'a>>),
    /// Dict, plain or ordered.
    Dict(Vec<(Value<'a>, Value<'a>)>),
    /// Storage outside the pickle.
    Storage(StorageId<'a>),
    /// Tensor: a view of a storage.
    Tensor(Tensor<'a>),
    /// Tensor of a kind that cannot be a weight, in words.
    Unusable(&'static str),
    /// Instance of a class, or result of a function: kept as it was described, without creating it.
    Opaque(Box<Opaque<'a>>),
}

/// Instance of a class that was not created, or a call that was not made.
#[derive(Debug, Clone, PartialEq)]
pub struct Opaque<'a> {
    /// Class or function; none if the pickle computes it, too.
    pub class: Option<Global<'a>>,
    /// Arguments of the call.
    pub arguments: Value<'a>,
    /// Attributes.
    pub state: Value<'a>,
    /// Elements that were appended.
    pub elements: Vec<Value<'a>>,
    /// Entries that were set.
    pub entries: Vec<(Value<'a>, Value<'a>)>,
}

/// Element type of a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element {
    /// Type; none if safetensors and weights have no such type.
    pub dtype: Option<Dtype>,
    /// Size in bytes.
    pub size: usize,
}

/// Storage, by its name in the file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StorageId<'a> {
    /// Name of the storage.
    pub key: &'a str,
    /// Type of its values.
    pub element: Element,
}

/// Tensor whose values have not been read.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor<'a> {
    /// Storage of its values.
    pub key: &'a str,
    /// Type of its values.
    pub dtype: Dtype,
    /// Position of its values in the storage.
    pub layout: Layout,
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

    /// Adds an instance of `class` without attributes.
    pub fn instance(&mut self, class: Value<'a>, arguments: Value<'a>) -> Value<'a> {
        let class = match class {
            Value::Global(class) => Some(class),
            _ => None,
        };
        let (state, elements, entries) = (Value::Other, Vec::new(), Vec::new());
        self.add(Object::Opaque(Box::new(Opaque { class, arguments, state, elements, entries })))
    }

    /// Returns the object that a value refers to; `None` for plain numbers and strings.
    pub fn get(&self, value: Value<'a>) -> Option<&Object<'a>> {
        match value {
            Value::Object(place) => self.0.get(place),
            _ => None,
        }
    }

    /// Returns the object that a value refers to, mutably; `None` for plain numbers and strings.
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

    /// Lists the classes and functions of all instances.
    pub fn classes(&self) -> impl Iterator<Item = Global<'a>> {
        self.0.iter().filter_map(|object| match object {
            Object::Opaque(instance) => instance.class,
            _ => None,
        })
    }
}
