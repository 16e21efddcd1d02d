//! Pickle reader that builds plain data and runs no code.
//!
//! A pickle is a program for a stack machine. Python's machine imports and calls whatever the program names, so that a file
//! can do anything. This machine has all instructions and calls nothing: it knows the functions that describe tensors
//! (`calls.rs`), and keeps every other call and instance as data.
//! [pickletools](https://github.com/python/cpython/blob/main/Lib/pickletools.py) describes the instructions.

use std::collections::HashMap;

use super::calls;
use super::cursor::Cursor;
use super::error::FormatError;
use super::objects::{Global, Object, Objects, Value};

/// Limit for the number of instructions, which bounds the memory: each makes at most one object. A ResNet18 with its
/// optimizer takes some 10,000; the losses of every step of a long training may be a million more.
const MAX_INSTRUCTIONS: usize = 1 << 21;

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
        let mut machine = Machine { cursor: Cursor::new(bytes), ..Machine::default() };
        for _ in 0..MAX_INSTRUCTIONS {
            let instruction = machine.cursor.instruction()?;
            if instruction == STOP {
                let root = machine.pop()?;
                return Ok(Self { root, objects: machine.objects, len: machine.cursor.at });
            }
            machine.step(instruction)?;
        }
        Err(machine.cursor.fault("more instructions than weights need"))
    }
}

const STOP: u8 = b'.';

#[derive(Debug, Default)]
struct Machine<'a> {
    cursor: Cursor<'a>,
    stack: Vec<Value<'a>>,
    /// Stack heights that were marked.
    marks: Vec<usize>,
    memo: HashMap<u32, Value<'a>>,
    objects: Objects<'a>,
}

impl<'a> Machine<'a> {
    fn step(&mut self, instruction: u8) -> Result<(), FormatError> {
        match instruction {
            0x80 => drop(self.cursor.take(1)?), // PROTO: the version
            0x95 => drop(self.cursor.take(8)?), // FRAME: how much to read ahead
            0x98 => {}                          // READONLY_BUFFER
            b'(' => self.marks.push(self.stack.len()),
            b'0' if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()), // POP of a mark
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_marked()?), // POP_MARK
            b'p' => {
                let place = self.cursor.decimal()?; // PUT
                self.remember(place)?;
            }
            b'q' => {
                let [place] = self.cursor.array()?; // BINPUT
                self.remember(place.into())?;
            }
            b'r' => {
                let place = u32::from_le_bytes(self.cursor.array()?); // LONG_BINPUT
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
                self.cursor.number(instruction)?
            }
            b'S' | b'V' | b'U' | b'T' | b'X' | 0x8C | 0x8D | b'B' | b'C' | 0x8E | 0x96 => {
                self.cursor.text(instruction)?
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
                let place = self.cursor.decimal()?; // GET
                self.recall(place)?
            }
            b'h' => {
                let [place] = self.cursor.array()?; // BINGET
                self.recall(place.into())?
            }
            b'j' => {
                let place = u32::from_le_bytes(self.cursor.array()?); // LONG_BINGET
                self.recall(place)?
            }
            b'c' | b'i' | b'o' | 0x93 | b'R' | 0x81 | 0x92 | 0x82..=0x84 => self.call(instruction)?,
            b'Q' => {
                let name = self.pop()?; // BINPERSID
                calls::persistent(&mut self.objects, name)
            }
            b'P' => {
                self.cursor.line()?; // PERSID: PyTorch reads no storage that is named in text
                Value::Other
            }
            _ => return Err(self.cursor.fault("an instruction that pickles do not have")),
        })
    }

    /// Runs an instruction that names a function or class, or calls one. Nothing is imported or run.
    fn call(&mut self, instruction: u8) -> Result<Value<'a>, FormatError> {
        let (function, arguments) = match instruction {
            b'c' => {
                let (module, name) = (self.cursor.line()?, self.cursor.line()?); // GLOBAL
                return Ok(Value::Global(Global { module, name }));
            }
            0x93 => {
                return match (self.pop()?, self.pop()?) {
                    (Value::Text(name), Value::Text(module)) => Ok(Value::Global(Global { module, name })),
                    _ => Err(self.cursor.fault("a function or class without a name")), // STACK_GLOBAL
                };
            }
            0x82..=0x84 => {
                self.cursor.take(1 << (instruction - 0x82))?; // EXT1, EXT2, EXT4: a class by its number in a registry
                return Ok(self.objects.instance(Value::Other, Value::Other));
            }
            b'i' => {
                let (module, name) = (self.cursor.line()?, self.cursor.line()?); // INST
                let arguments = self.pop_marked()?;
                (Value::Global(Global { module, name }), self.objects.add(Object::Sequence(arguments)))
            }
            b'o' => {
                let mut parts = self.pop_marked()?; // OBJ
                if parts.is_empty() {
                    return Err(self.cursor.fault("an instance without a class"));
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

    fn pop_many(&mut self, count: usize) -> Result<Vec<Value<'a>>, FormatError> {
        // Values below a mark must not be popped.
        let floor = self.marks.last().copied().unwrap_or(0);
        let height = self.stack.len().checked_sub(count).filter(|&height| height >= floor);
        Ok(self.stack.split_off(height.ok_or_else(|| self.cursor.fault("nothing to work on"))?))
    }

    fn pop(&mut self) -> Result<Value<'a>, FormatError> {
        Ok(self.pop_many(1)?[0])
    }

    fn pop_marked(&mut self) -> Result<Vec<Value<'a>>, FormatError> {
        let mark = self.marks.pop().ok_or_else(|| self.cursor.fault("no mark where a group begins"))?;
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
            _ => return Err(self.cursor.fault("elements for something that is no list")),
        }
        Ok(())
    }

    fn set(&mut self, entries: &[Value<'a>]) -> Result<(), FormatError> {
        let (top, pairs) = (self.top()?, self.pairs(entries)?);
        match self.objects.get_mut(top) {
            Some(Object::Dict(dict)) => dict.extend(pairs),
            Some(Object::Opaque(instance)) => instance.entries.extend(pairs),
            _ => return Err(self.cursor.fault("entries for something that is no dict")),
        }
        Ok(())
    }

    fn pairs(&self, entries: &[Value<'a>]) -> Result<Vec<(Value<'a>, Value<'a>)>, FormatError> {
        match entries.as_chunks::<2>() {
            (pairs, []) => Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()),
            _ => Err(self.cursor.fault("a key without a value")),
        }
    }

    fn remember(&mut self, place: u32) -> Result<(), FormatError> {
        let top = self.top()?;
        self.memo.insert(place, top);
        Ok(())
    }

    fn recall(&self, place: u32) -> Result<Value<'a>, FormatError> {
        self.memo.get(&place).copied().ok_or_else(|| self.cursor.fault("something that was not remembered"))
    }
}
