//! Calls in a pickle that describe tensors; all other calls are kept as they are.
//!
//! [torch/_utils.py](https://github.com/pytorch/pytorch/blob/main/torch/_utils.py) defines the functions.

use safetensors::Dtype;

use super::objects::{Element, Global, Object, Objects, StorageId, Tensor, Value};
use super::tensor::{Layout, MAX_DIMENSIONS};

/// Functions that rebuild tensors which cannot be weights, and the kind of tensor in words.
const UNUSABLE: [(&str, &str); 7] = [
    ("_rebuild_sparse_tensor", "a sparse tensor"),
    ("_rebuild_sparse_csr_tensor", "a sparse tensor"),
    ("_rebuild_qtensor", "a quantized tensor"),
    ("_rebuild_nested_tensor", "a nested tensor"),
    ("_rebuild_meta_tensor_no_storage", "a meta tensor, which has no values"),
    ("_rebuild_wrapper_subclass", "a tensor of a class that wraps others"),
    ("_rebuild_functional_tensor", "a functional tensor"),
];

/// Element types of PyTorch: name of the storage class, name of the dtype, size in bytes, and type of the values.
const ELEMENTS: [(&str, &str, usize, Option<Dtype>); 21] = [
    ("FloatStorage", "float32", 4, Some(Dtype::F32)),
    ("HalfStorage", "float16", 2, Some(Dtype::F16)),
    ("BFloat16Storage", "bfloat16", 2, Some(Dtype::BF16)),
    ("DoubleStorage", "float64", 8, Some(Dtype::F64)),
    ("LongStorage", "int64", 8, Some(Dtype::I64)),
    ("IntStorage", "int32", 4, Some(Dtype::I32)),
    ("ShortStorage", "int16", 2, Some(Dtype::I16)),
    ("CharStorage", "int8", 1, Some(Dtype::I8)),
    ("ByteStorage", "uint8", 1, Some(Dtype::U8)),
    ("BoolStorage", "bool", 1, Some(Dtype::BOOL)),
    ("UntypedStorage", "uint8", 1, Some(Dtype::U8)),
    ("", "uint16", 2, Some(Dtype::U16)),
    ("", "uint32", 4, Some(Dtype::U32)),
    ("", "uint64", 8, Some(Dtype::U64)),
    ("", "float8_e4m3fn", 1, Some(Dtype::F8_E4M3)),
    ("", "float8_e5m2", 1, Some(Dtype::F8_E5M2)),
    ("ComplexFloatStorage", "complex64", 8, None),
    ("ComplexDoubleStorage", "complex128", 16, None),
    ("QInt8Storage", "qint8", 1, None),
    ("QUInt8Storage", "quint8", 1, None),
    ("QInt32Storage", "qint32", 4, None),
];

/// Evaluates `function(*arguments)`: a tensor where it describes one, else an instance that nothing has created.
pub fn call<'a>(objects: &mut Objects<'a>, function: Value<'a>, arguments: Value<'a>) -> Value<'a> {
    known(objects, function, arguments).unwrap_or_else(|| match function {
        Value::Global(Global { module: "torch._utils", name }) if name.starts_with("_rebuild_") => {
            objects.add(Object::Unusable("a tensor that is described in an unknown way"))
        }
        _ => objects.instance(function, arguments),
    })
}

fn known<'a>(objects: &mut Objects<'a>, function: Value<'a>, arguments: Value<'a>) -> Option<Value<'a>> {
    let (mut function, mut arguments) = (function, arguments);
    // A tensor of another class: the function that rebuilds it, its class, the arguments, and attributes.
    if let Value::Global(Global { module: "torch._tensor", name }) = function
        && name.starts_with("_rebuild_from_type")
    {
        let &[rebuild, _, inner, ..] = objects.sequence(arguments)? else { return None };
        (function, arguments) = (rebuild, inner);
    }
    let Value::Global(Global { module, name }) = function else { return None };
    match (module, name, objects.sequence(arguments)?) {
        ("collections", "OrderedDict", []) => Some(objects.add(Object::Dict(Vec::new()))),
        ("builtins" | "__builtin__", "set" | "frozenset", &[elements]) => {
            objects.sequence(elements).is_some().then_some(elements)
        }
        ("torch", "Size", &[sizes]) => objects.sequence(sizes).is_some().then_some(sizes),
        ("torch.nn.parameter", "Parameter" | "Buffer", &[tensor, ..])
        | ("torch.autograd.variable", "Variable", &[tensor, ..])
        | (
            "torch._utils",
            "_rebuild_parameter"
            | "_rebuild_parameter_with_state"
            | "_rebuild_device_tensor_from_numpy"
            | "_rebuild_device_tensor_from_cpu_tensor"
            | "_rebuild_xla_tensor",
            &[tensor, ..],
        ) => Some(tensor),
        (
            "torch._utils",
            "_rebuild_tensor" | "_rebuild_tensor_v2",
            &[storage, offset, shape, strides, ..],
        ) => rebuilt(objects, storage, None, [offset, shape, strides]),
        ("torch._utils", "_rebuild_tensor_v3", &[storage, offset, shape, strides, _, _, dtype, ..]) => {
            rebuilt(objects, storage, Some(dtype), [offset, shape, strides])
        }
        ("torch._utils", name, _) => {
            let (_, kind) = UNUSABLE.iter().find(|(function, _)| *function == name)?;
            Some(objects.add(Object::Unusable(kind)))
        }
        _ => None,
    }
}

fn rebuilt<'a>(
    objects: &mut Objects<'a>,
    storage: Value<'a>,
    dtype: Option<Value<'a>>,
    [offset, shape, strides]: [Value<'a>; 3],
) -> Option<Value<'a>> {
    let Object::Storage(StorageId { key, element }) = *objects.get(storage)? else { return None };
    let dtype = match dtype {
        Some(Value::Global(Global { module: "torch", name })) => dtype_named(name).dtype,
        Some(_) => None,
        None => element.dtype,
    };
    let Some(dtype) = dtype else {
        return Some(objects.add(Object::Unusable("of complex, quantized or unknown numbers")));
    };
    let layout =
        Layout { offset: size(offset)?, shape: sizes(objects, shape)?, strides: sizes(objects, strides)? };
    Some(objects.add(Object::Tensor(Tensor { key, dtype, layout })))
}

/// Reads a name outside the pickle: a storage, or the class of a module with its source text, which is not run.
pub fn persistent<'a>(objects: &mut Objects<'a>, name: Value<'a>) -> Value<'a> {
    match objects.sequence(name) {
        Some(&[Value::Text("storage"), Value::Global(class), Value::Text(key), _, _, ref rest @ ..])
            if matches!(rest, [] | [Value::Other]) =>
        {
            let element = storage_named(class.name);
            objects.add(Object::Storage(StorageId { key, element }))
        }
        Some(&[Value::Text("module"), class @ Value::Global(_), ..]) => class,
        _ => Value::Other,
    }
}

/// Element type of a storage class; of an unknown one, bytes that cannot be weights.
fn storage_named(class: &str) -> Element {
    let found = ELEMENTS.iter().find(|(name, ..)| *name == class);
    found.map_or(Element { dtype: None, size: 1 }, |&(.., size, dtype)| Element { dtype, size })
}

fn dtype_named(dtype: &str) -> Element {
    let found = ELEMENTS.iter().find(|(_, name, ..)| *name == dtype);
    found.map_or(Element { dtype: None, size: 1 }, |&(.., size, dtype)| Element { dtype, size })
}

/// Reads a shape or strides.
pub fn sizes<'a>(objects: &Objects<'a>, sizes: Value<'a>) -> Option<Vec<usize>> {
    // The length is checked before copying: a file could refer to one long list very often.
    let sizes = objects.sequence(sizes).filter(|sizes| sizes.len() <= MAX_DIMENSIONS)?;
    sizes.iter().map(|&value| size(value)).collect()
}

fn size(value: Value<'_>) -> Option<usize> {
    match value {
        Value::Int(size) => size.try_into().ok(),
        _ => None,
    }
}
