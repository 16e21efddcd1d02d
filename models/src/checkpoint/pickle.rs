//! Pickle reader that builds plain data and runs no code.
//!
//! A pickle is a program for a stack machine. Python's machine imports and calls whatever the program names, so that a file
//! can do anything. This machine has all instructions and calls nothing: it knows the functions that describe tensors
//! (`calls.rs`), and keeps every other call and instance as data. [pickletools](https://github.com/python/cpython/blob/main/Lib/pickletools.py) describes the instructions.

use std::collections::HashMap;

use super::calls;
use super::error::FormatError;
use super::objects::{Global, Object, Objects, Value};

/// Limit for the number of instructions, which bounds the memory: each makes at most one object. A ResNet18 with its
/// optimizer takes some 10,000; the losses of every step of a long training may be a million more.
const MAX_INSTRUCTIONS: usize = 1 << 22;

/// Result of reading a pickle.
#[derive(Debug)]
pub struct Pickle<'a> {
    /// Pickled object.
    pub root: Value<'a>,
    /// Objects that it refers to.
    pub objects: Objects<'a>,
    /// Length of the pickle in bytes; other data may follow.
    pub len: usize,
}

impl<'a> Pickle<'a> {
    /// Reads the pickle at the start of `bytes`.
    ///
    /// # Errors
    /// [`FormatError::Pickle`] when it is damaged.
    pub fn read(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let mut machine = Machine { bytes, ..Machine::default() };
        for _ in 0..MAX_INSTRUCTIONS {
            machine.start = machine.at;
            let [instruction] = machine.array()?;
            if instruction == STOP {
                let root = machine.pop()?;
                return Ok(Self { root, objects: machine.objects, len: machine.at });
            }
            machine.step(instruction)?;
        }
        Err(machine.fault("more instructions than weights need"))
    }
}

const STOP: u8 = b'.';

#[derive(Debug, Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Start of the current instruction.
    start: usize,
    stack: Vec<Value<'a>>,
    /// Stack heights that were marked.
    marks: Vec<usize>,
    memo: HashMap<u32, Value<'a>>,
    objects: Objects<'a>,
}

impl<'a> Machine<'a> {
    fn step(&mut self, instruction: u8) -> Result<(), FormatError> {
        match instruction {
            0x80 => drop(self.take(1)?), // PROTO: the version
            0x95 => drop(self.take(8)?), // FRAME: how much to read ahead
            0x98 => {}                   // READONLY_BUFFER
            b'(' => self.marks.push(self.stack.len()),
            b'0' if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()), // POP of a mark
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_marked()?), // POP_MARK
            b'p' => {
                let place = self.decimal()?; // PUT
                self.remember(place)?;
            }
            b'q' => {
                let [place] = self.array()?; // BINPUT
                self.remember(place.into())?;
            }
            b'r' => {
                let place = u32::from_le_bytes(self.array()?); // LONG_BINPUT
                self.remember(place)?;
            }
            0x94 => self.remember(self.memo.len() as u32)?, // MEMOIZE
            b'a' => {
                let element = self.pop()?; // APPEND
                self.append(&[element])?;
            }
            b'e' | 0x90 => {
                let elements = self.pop_marked()?; // APPENDS, ADDITEMS
                self.append(&elements)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?); // SETITEM
                self.set(&[key, value])?;
            }
            b'u' => {
                let entries = self.pop_marked()?; // SETITEMS
                self.set(&entries)?;
            }
            b'b' => self.build()?,
            _ => {
                let value = self.value(instruction)?;
                self.stack.push(value);
            }
        }
        Ok(())
    }

    /// Runs an instruction that pushes one value.
    fn value(&mut self, instruction: u8) -> Result<Value<'a>, FormatError> {
        Ok(match instruction {
            b'N' => Value::Other,
            b'I' | b'L' | b'F' | 0x88 | 0x89 | b'K' | b'M' | b'J' | 0x8A | 0x8B | b'G' => {
                self.number(instruction)?
            }
            b'S' | b'V' | b'U' | b'T' | b'X' | 0x8C | 0x8D | b'B' | b'C' | 0x8E | 0x96 => {
                self.text(instruction)?
            }
            0x97 => Value::Other, // NEXT_BUFFER: values outside the pickle
            b']' | b')' | 0x8F => self.objects.add(Object::Sequence(Vec::new())),
            b'}' => self.objects.add(Object::Dict(Vec::new())),
            b't' | b'l' | 0x91 => {
                let elements = self.pop_marked()?; // TUPLE, LIST, FROZENSET
                self.objects.add(Object::Sequence(elements))
            }
            b'd' => {
                let entries = self.pop_marked()?; // DICT
                let pairs = self.pairs(&entries)?;
                self.objects.add(Object::Dict(pairs))
            }
            0x85..=0x87 => {
                let elements = self.pop_many(usize::from(instruction - 0x84))?; // TUPLE1 to TUPLE3
                self.objects.add(Object::Sequence(elements))
            }
            b'2' => self.top()?, // DUP
            b'g' => {
                let place = self.decimal()?; // GET
                self.recall(place)?
            }
            b'h' => {
                let [place] = self.array()?; // BINGET
                self.recall(place.into())?
            }
            b'j' => {
                let place = u32::from_le_bytes(self.array()?); // LONG_BINGET
                self.recall(place)?
            }
            b'c' | b'i' | b'o' | 0x93 | b'R' | 0x81 | 0x92 | 0x82..=0x84 => self.call(instruction)?,
            b'Q' => {
                let name = self.pop()?; // BINPERSID
                calls::persistent(&mut self.objects, name)
            }
            b'P' => {
                self.line()?; // PERSID: PyTorch reads no storage that is named in text
                Value::Other
            }
            _ => return Err(self.fault("an instruction that pickles do not have")),
        })
    }

    /// Runs an instruction that names a function or class, or calls one. Nothing is imported or run.
    fn call(&mut self, instruction: u8) -> Result<Value<'a>, FormatError> {
        let (function, arguments) = match instruction {
            b'c' => {
                let (module, name) = (self.line()?, self.line()?); // GLOBAL
                return Ok(Value::Global(Global { module, name }));
            }
            0x93 => {
                return match (self.pop()?, self.pop()?) {
                    (Value::Text(name), Value::Text(module)) => Ok(Value::Global(Global { module, name })),
                    _ => Err(self.fault("a function or class without a name")), // STACK_GLOBAL
                };
            }
            0x82..=0x84 => {
                self.take(1 << (instruction - 0x82))?; // EXT1, EXT2, EXT4: a class by its number in a registry
                return Ok(self.objects.instance(Value::Other, Value::Other));
            }
            b'i' => {
                let (module, name) = (self.line()?, self.line()?); // INST
                let arguments = self.pop_marked()?;
                (Value::Global(Global { module, name }), self.objects.add(Object::Sequence(arguments)))
            }
            b'o' => {
                let mut parts = self.pop_marked()?; // OBJ
                if parts.is_empty() {
                    return Err(self.fault("an instance without a class"));
                }
                let class = parts.remove(0);
                (class, self.objects.add(Object::Sequence(parts)))
            }
            0x92 => {
                let (_, arguments, class) = (self.pop()?, self.pop()?, self.pop()?); // NEWOBJ_EX
                (class, arguments)
            }
            _ => {
                let (arguments, function) = (self.pop()?, self.pop()?); // REDUCE, NEWOBJ
                (function, arguments)
            }
        };
        Ok(calls::call(&mut self.objects, function, arguments))
    }

    /// Runs BUILD: sets the attributes of an instance. A state dict has some, too, which nothing depends on.
    fn build(&mut self) -> Result<(), FormatError> {
        let state = self.pop()?;
        let top = self.top()?;
        if let Some(Object::Opaque(instance)) = self.objects.get_mut(top) {
            instance.state = state;
        }
        Ok(())
    }

    fn fault(&self, why: &'static str) -> FormatError {
        FormatError::Pickle { at: self.start, why }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], FormatError> {
        let taken = self.bytes[self.at..].get(..len).ok_or_else(|| self.fault("it ends early"))?;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// Reads a little-endian length of `bytes` bytes.
    fn len(&mut self, bytes: usize) -> Result<usize, FormatError> {
        let mut wide = [0; 8];
        wide[..bytes].copy_from_slice(self.take(bytes)?);
        usize::try_from(u64::from_le_bytes(wide)).map_err(|_| self.fault("it ends early"))
    }

    fn line(&mut self) -> Result<&'a str, FormatError> {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|&byte| byte == b'\n').ok_or_else(|| self.fault("it ends early"))?;
        self.at += len + 1;
        str::from_utf8(&rest[..len]).map_err(|_| self.fault("text that is not UTF-8"))
    }

    fn decimal(&mut self) -> Result<u32, FormatError> {
        self.line()?.parse().map_err(|_| self.fault("a place that is no number"))
    }

    /// Reads text or bytes. Text that is not UTF-8 names no tensor.
    fn text(&mut self, instruction: u8) -> Result<Value<'a>, FormatError> {
        let bytes = match instruction {
            b'V' => return self.line().map(Value::Text), // UNICODE
            b'S' => {
                let quoted = self.line()?; // STRING, in quotes
                return Ok(Value::Text(quoted.trim_matches(['\'', '"'])));
            }
            b'U' | 0x8C | b'C' => {
                let len = self.len(1)?; // SHORT_BINSTRING, SHORT_BINUNICODE, SHORT_BINBYTES
                self.take(len)?
            }
            b'T' | b'X' | b'B' => {
                let len = self.len(4)?; // BINSTRING, BINUNICODE, BINBYTES
                self.take(len)?
            }
            _ => {
                let len = self.len(8)?; // BINUNICODE8, BINBYTES8, BYTEARRAY8
                self.take(len)?
            }
        };
        let binary = matches!(instruction, b'C' | b'B' | 0x8E | 0x96);
        Ok(match str::from_utf8(bytes) {
            Ok(text) if !binary => Value::Text(text),
            _ => Value::Bytes(bytes),
        })
    }

    fn number(&mut self, instruction: u8) -> Result<Value<'a>, FormatError> {
        Ok(match instruction {
            0x88 => Value::Int(1), // NEWTRUE
            0x89 => Value::Int(0), // NEWFALSE
            b'K' => Value::Int(u8::from_le_bytes(self.array()?).into()),
            b'M' => Value::Int(u16::from_le_bytes(self.array()?).into()),
            b'J' => Value::Int(i32::from_le_bytes(self.array()?).into()),
            0x8A => {
                let len = self.len(1)?; // LONG1
                long(self.take(len)?)
            }
            0x8B => {
                let len = self.len(4)?; // LONG4
                long(self.take(len)?)
            }
            b'G' => {
                self.take(8)?; // BINFLOAT
                Value::Other
            }
            // INT, LONG, FLOAT: text
            _ => self.line()?.trim_end_matches('L').parse().map_or(Value::Other, Value::Int),
        })
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Value<'a>>, FormatError> {
        // Values below a mark must not be popped.
        let floor = self.marks.last().copied().unwrap_or(0);
        let height = self.stack.len().checked_sub(count).filter(|&height| height >= floor);
        Ok(self.stack.split_off(height.ok_or_else(|| self.fault("nothing to work on"))?))
    }

    fn pop(&mut self) -> Result<Value<'a>, FormatError> {
        Ok(self.pop_many(1)?[0])
    }

    fn pop_marked(&mut self) -> Result<Vec<Value<'a>>, FormatError> {
        let mark = self.marks.pop().ok_or_else(|| self.fault("no mark where a group begins"))?;
        Ok(self.stack.split_off(mark))
    }

    /// Returns the value on top of the stack without popping it.
    fn top(&mut self) -> Result<Value<'a>, FormatError> {
        let top = self.pop()?;
        self.stack.push(top);
        Ok(top)
    }

    fn append(&mut self, elements: &[Value<'a>]) -> Result<(), FormatError> {
        let top = self.top()?;
        match self.objects.get_mut(top) {
            Some(Object::Sequence(list)) => list.extend_from_slice(elements),
            Some(Object::Opaque(instance)) => instance.elements.extend_from_slice(elements),
            _ => return Err(self.fault("elements for something that is no list")),
        }
        Ok(())
    }

    fn set(&mut self, entries: &[Value<'a>]) -> Result<(), FormatError> {
        let (top, pairs) = (self.top()?, self.pairs(entries)?);
        match self.objects.get_mut(top) {
            Some(Object::Dict(dict)) => dict.extend(pairs),
            Some(Object::Opaque(instance)) => instance.entries.extend(pairs),
            _ => return Err(self.fault("entries for something that is no dict")),
        }
        Ok(())
    }

    fn pairs(&self, entries: &[Value<'a>]) -> Result<Vec<(Value<'a>, Value<'a>)>, FormatError> {
        match entries.as_chunks::<2>() {
            (pairs, []) => Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()),
            _ => Err(self.fault("a key without a value")),
        }
    }

    fn remember(&mut self, place: u32) -> Result<(), FormatError> {
        let top = self.top()?;
        self.memo.insert(place, top);
        Ok(())
    }

    fn recall(&self, place: u32) -> Result<Value<'a>, FormatError> {
        self.memo.get(&place).copied().ok_or_else(|| self.fault("something that was not remembered"))
    }
}

/// Reads a little-endian integer in two's complement; of one beyond 128 bits, no tensor depends on the value.
fn long<'a>(bytes: &[u8]) -> Value<'a> {
    let fill = if bytes.last().is_some_and(|byte| byte >> 7 == 1) { 0xFF } else { 0 };
    let mut wide = [fill; 16];
    match wide.get_mut(..bytes.len()) {
        Some(low) => {
            low.copy_from_slice(bytes);
            Value::Int(i128::from_le_bytes(wide))
        }
        None => Value::Other,
    }
}
