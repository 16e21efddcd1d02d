//! Pickle reader that builds plain data and runs no code.
//!
//! A pickle is a program for a stack machine. Python's machine imports and calls whatever the program names, so that a file
//! can do anything. This machine has the instructions that `torch.save` uses, and only the functions of [`Global`].
//! [pickletools](https://github.com/python/cpython/blob/main/Lib/pickletools.py) describes the instructions.

use std::collections::HashMap;

use super::error::FormatError;
use super::objects::{Global, Object, Objects, Value};

/// Limit for the number of instructions, which bounds the memory: each makes at most one object. A ResNet18 with its
/// optimizer takes some 10,000.
const MAX_INSTRUCTIONS: usize = 1 << 20;

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
    /// [`FormatError::Global`] when it names a function or class that weights do not need, [`FormatError::Pickle`]
    /// when it is not a pickle of plain data.
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
            b'(' => self.marks.push(self.stack.len()),
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
            b'e' => {
                let elements = self.pop_marked()?; // APPENDS
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
            b'b' => drop(self.pop()?), // BUILD: attributes, such as the _metadata of a state dict
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
            0x88 => Value::Int(1), // NEWTRUE
            0x89 => Value::Int(0), // NEWFALSE
            b'K' => Value::Int(u8::from_le_bytes(self.array()?).into()),
            b'M' => Value::Int(u16::from_le_bytes(self.array()?).into()),
            b'J' => Value::Int(i32::from_le_bytes(self.array()?).into()),
            0x8A => self.long()?,
            b'G' => {
                self.take(8)?; // BINFLOAT
                Value::Other
            }
            0x8C | b'U' => {
                let [len] = self.array()?; // SHORT_BINUNICODE, SHORT_BINSTRING
                self.text(len.into())?
            }
            b'X' => {
                let len = u32::from_le_bytes(self.array()?); // BINUNICODE
                self.text(len as usize)?
            }
            b']' | b')' => self.objects.add(Object::Sequence(Vec::new())),
            b'}' => self.objects.add(Object::Dict(Vec::new())),
            b't' => {
                let elements = self.pop_marked()?; // TUPLE
                self.objects.add(Object::Sequence(elements))
            }
            0x85..=0x87 => {
                let elements = self.pop_many(usize::from(instruction - 0x84))?; // TUPLE1 to TUPLE3
                self.objects.add(Object::Sequence(elements))
            }
            b'h' => {
                let [place] = self.array()?; // BINGET
                self.recall(place.into())?
            }
            b'j' => {
                let place = u32::from_le_bytes(self.array()?); // LONG_BINGET
                self.recall(place)?
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?); // GLOBAL
                global(module, name)?
            }
            0x93 => match (self.pop()?, self.pop()?) {
                (Value::Text(name), Value::Text(module)) => global(module, name)?, // STACK_GLOBAL
                _ => return Err(self.fault("a function or class without a name")),
            },
            b'R' => {
                let (arguments, function) = (self.pop()?, self.pop()?); // REDUCE
                let result = self.objects.call(function, arguments);
                result.ok_or_else(|| self.fault("a call that weights do not need"))?
            }
            b'Q' => {
                let name = self.pop()?; // BINPERSID
                let storage = self.objects.storage(name);
                storage
                    .ok_or_else(|| self.fault("something outside the pickle that is no storage of values"))?
            }
            _ => return Err(self.fault("an instruction that weights do not need")),
        })
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

    fn utf8(&self, bytes: &'a [u8]) -> Result<&'a str, FormatError> {
        str::from_utf8(bytes).map_err(|_| self.fault("text that is not UTF-8"))
    }

    fn text(&mut self, len: usize) -> Result<Value<'a>, FormatError> {
        let bytes = self.take(len)?;
        Ok(Value::Text(self.utf8(bytes)?))
    }

    fn line(&mut self) -> Result<&'a str, FormatError> {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|&byte| byte == b'\n').ok_or_else(|| self.fault("it ends early"))?;
        self.at += len + 1;
        self.utf8(&rest[..len])
    }

    /// Reads LONG1: a little-endian integer in two's complement.
    fn long(&mut self) -> Result<Value<'a>, FormatError> {
        let [len] = self.array()?;
        let bytes = self.take(len.into())?;
        let fill = if bytes.last().is_some_and(|byte| byte >> 7 == 1) { 0xFF } else { 0 };
        let mut wide = [fill; 16];
        Ok(match wide.get_mut(..bytes.len()) {
            Some(low) => {
                low.copy_from_slice(bytes);
                Value::Int(i128::from_le_bytes(wide))
            }
            None => Value::Other,
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

    /// Returns the object on top of the stack without popping it.
    fn top(&mut self) -> Result<&mut Object<'a>, FormatError> {
        let top = self.pop()?;
        self.stack.push(top);
        let fault = self.fault("a change of something that is no object");
        self.objects.get_mut(top).ok_or(fault)
    }

    fn append(&mut self, elements: &[Value<'a>]) -> Result<(), FormatError> {
        let fault = self.fault("elements for something that is no list");
        match self.top()? {
            Object::Sequence(list) => list.extend_from_slice(elements),
            _ => return Err(fault),
        }
        Ok(())
    }

    fn set(&mut self, entries: &[Value<'a>]) -> Result<(), FormatError> {
        let fault = self.fault("entries for something that is no dict");
        match (self.top()?, entries.as_chunks::<2>()) {
            (Object::Dict(dict), (pairs, [])) => dict.extend(pairs.iter().map(|&[key, value]| (key, value))),
            _ => return Err(fault),
        }
        Ok(())
    }

    fn remember(&mut self, place: u32) -> Result<(), FormatError> {
        let top = self.pop()?;
        self.stack.push(top);
        self.memo.insert(place, top);
        Ok(())
    }

    fn recall(&self, place: u32) -> Result<Value<'a>, FormatError> {
        self.memo.get(&place).copied().ok_or_else(|| self.fault("something that was not remembered"))
    }
}

fn global<'a>(module: &str, name: &str) -> Result<Value<'a>, FormatError> {
    let known = Global::find(module, name).map(Value::Global);
    known.ok_or_else(|| FormatError::Global(FormatError::quote(&format!("{module}.{name}"))))
}
