//! Names of all tensors in a pickled object: the keys, indices and attributes that lead to each, joined by dots.
//!
//! A module of PyTorch has the names of its `state_dict`. Other instances are followed through their attributes.

use std::collections::HashSet;

use super::error::FormatError;
use super::numpy::{self, NumpyArray};
use super::objects::{Object, Opaque, Tensor, Value};
use super::pickle::Pickle;
use super::stored::Container;

/// Limit for containers in containers.
const MAX_DEPTH: usize = 100;
/// Limit for the number of elements visited. Containers may share elements, which are visited once for each.
const MAX_VISITS: usize = 1 << 23;
/// Length of a name in bytes, beyond which nothing is looked for.
const MAX_NAME: usize = 1000;
/// Limit for the length of all names together, in bytes.
const MAX_NAMES: usize = 1 << 26;

/// Tensor in a pickled object.
#[derive(Debug)]
pub struct Leaf<'p, 'a> {
    /// Keys, indices and attributes that lead to it, joined by dots.
    pub name: String,
    /// State dict, list or module that it belongs to.
    pub container: Container,
    /// Description of its values.
    pub content: Content<'p, 'a>,
}

/// Description of the values of a tensor.
#[derive(Debug)]
pub enum Content<'p, 'a> {
    /// View of a storage outside the pickle.
    Tensor(&'p Tensor<'a>),
    /// Array of NumPy inside the pickle.
    Numpy(NumpyArray<'a>),
    /// Tensor of a kind that cannot be a weight, in words.
    Unusable(&'static str),
}

/// Lists all tensors of a pickled object in their order.
///
/// # Errors
/// [`FormatError::Tangled`] when containers share elements so often that a small file would become huge.
pub fn leaves<'p, 'a>(pickle: &'p Pickle<'a>) -> Result<Vec<Leaf<'p, 'a>>, FormatError> {
    let mut walk = Walk { pickle, leaves: Vec::new(), above: Vec::new(), containers: 0, visits: 0, names: 0 };
    walk.visit(pickle.root, "", Container::default())?;
    Ok(walk.leaves)
}

struct Walk<'p, 'a> {
    pickle: &'p Pickle<'a>,
    leaves: Vec<Leaf<'p, 'a>>,
    /// Objects that lead to the current one, so that cycles end.
    above: Vec<usize>,
    containers: usize,
    visits: usize,
    names: usize,
}

impl<'p, 'a> Walk<'p, 'a> {
    fn visit(&mut self, value: Value<'a>, name: &str, container: Container) -> Result<(), FormatError> {
        let Value::Object(place) = value else { return Ok(()) };
        if self.above.len() == MAX_DEPTH || name.len() > MAX_NAME || self.above.contains(&place) {
            return Ok(());
        }
        let Some(object) = self.pickle.objects.get(value) else { return Ok(()) };
        self.above.push(place);
        match object {
            Object::Tensor(tensor) => self.leaf(name, container, Content::Tensor(tensor)),
            Object::Unusable(kind) => self.leaf(name, container, Content::Unusable(kind)),
            Object::Storage(_) => {}
            Object::Sequence(elements) => self.sequence(elements, name)?,
            Object::Dict(entries) => self.dict(entries, name)?,
            Object::Opaque(instance) => match numpy::array(&self.pickle.objects, instance) {
                Some(array) => self.leaf(name, container, Content::Numpy(array)),
                None => self.instance(instance, name, container)?,
            },
        }
        self.above.pop();
        Ok(())
    }

    fn leaf(&mut self, name: &str, container: Container, content: Content<'p, 'a>) {
        self.names += name.len();
        self.leaves.push(Leaf { name: name.to_owned(), container, content });
    }

    fn sequence(&mut self, elements: &[Value<'a>], name: &str) -> Result<(), FormatError> {
        let container = self.container(name);
        for (index, &element) in elements.iter().enumerate() {
            self.child(element, name, &Value::Int(index as i128), container)?;
        }
        Ok(())
    }

    fn dict(&mut self, entries: &[(Value<'a>, Value<'a>)], name: &str) -> Result<(), FormatError> {
        let container = self.container(name);
        entries.iter().try_for_each(|(key, value)| self.child(*value, name, key, container))
    }

    fn container(&mut self, name: &str) -> Container {
        self.containers += 1;
        let prefix = if name.is_empty() { 0 } else { name.len() + 1 };
        Container { number: self.containers, prefix }
    }

    fn child(
        &mut self,
        value: Value<'a>,
        name: &str,
        key: &Value<'a>,
        container: Container,
    ) -> Result<(), FormatError> {
        self.visits += 1;
        if self.visits > MAX_VISITS || self.names > MAX_NAMES {
            return Err(FormatError::Tangled);
        }
        if !matches!(value, Value::Object(_)) {
            return Ok(());
        }
        let key = match key {
            Value::Text(key) => (*key).to_owned(),
            Value::Int(key) => key.to_string(),
            _ => "?".to_owned(),
        };
        let child = if name.is_empty() { key } else { format!("{name}.{key}") };
        self.visit(value, &child, container)
    }

    fn instance(
        &mut self,
        instance: &Opaque<'a>,
        name: &str,
        container: Container,
    ) -> Result<(), FormatError> {
        let attributes = self.pickle.objects.dict(instance.state);
        if let Some(attributes) = attributes
            && (attribute(attributes, "_parameters").is_some() && attribute(attributes, "_modules").is_some())
        {
            let inside = self.is_module_above();
            let container = if inside { container } else { self.container(name) };
            return self.module(attributes, name, container);
        }
        if let Some(attributes) = attributes
            && instance.class.is_some_and(|class| class.module.starts_with("__torch__"))
        {
            // A module of TorchScript: parameters and modules are attributes.
            let container = if self.is_module_above() { container } else { self.container(name) };
            return attributes.iter().try_for_each(|(key, value)| self.child(*value, name, key, container));
        }
        self.dict(&instance.entries, name)?;
        self.sequence(&instance.elements, name)?;
        match attributes {
            Some(attributes) => self.dict(attributes, name)?,
            None => self.visit(instance.state, name, container)?,
        }
        self.visit(instance.arguments, name, container)
    }

    /// Visits a module of PyTorch as its `state_dict` does: parameters, persistent buffers, modules.
    fn module(
        &mut self,
        attributes: &'p [(Value<'a>, Value<'a>)],
        name: &str,
        container: Container,
    ) -> Result<(), FormatError> {
        let objects = &self.pickle.objects;
        let elements = |key| attribute(attributes, key).and_then(|value| objects.sequence(value));
        let entries = |key| attribute(attributes, key).map(|value| entries(self.pickle, value));
        let temporary: HashSet<&str> = elements("_non_persistent_buffers_set")
            .unwrap_or_default()
            .iter()
            .filter_map(|name| match name {
                Value::Text(name) => Some(*name),
                _ => None,
            })
            .collect();
        let groups = ["_parameters", "_buffers", "_modules"].map(|key| entries(key).unwrap_or_default());
        for (key, value) in groups.into_iter().flatten() {
            if !matches!(key, Value::Text(key) if temporary.contains(key)) {
                self.child(*value, name, key, container)?;
            }
        }
        Ok(())
    }

    /// Tells whether the object before the current one is a module, so that both belong to one state dict.
    fn is_module_above(&self) -> bool {
        let Some(&above) = self.above.iter().rev().nth(1) else { return false };
        match self.pickle.objects.get(Value::Object(above)) {
            Some(Object::Opaque(instance)) => {
                let attributes = self.pickle.objects.dict(instance.state).unwrap_or_default();
                attribute(attributes, "_modules").is_some()
                    || instance.class.is_some_and(|class| class.module.starts_with("__torch__"))
            }
            _ => false,
        }
    }
}

/// Entries of a dict or of an instance of a class like it.
fn entries<'p, 'a>(pickle: &'p Pickle<'a>, value: Value<'a>) -> &'p [(Value<'a>, Value<'a>)] {
    match pickle.objects.get(value) {
        Some(Object::Dict(entries)) => entries,
        Some(Object::Opaque(instance)) => &instance.entries,
        _ => &[],
    }
}

fn attribute<'a>(attributes: &[(Value<'a>, Value<'a>)], name: &str) -> Option<Value<'a>> {
    attributes.iter().find(|(key, _)| *key == Value::Text(name)).map(|(_, value)| *value)
}
