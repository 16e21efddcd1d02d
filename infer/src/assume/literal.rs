//! Literals of Python and JSON: texts, numbers, lists and dicts.
//!
//! Tools write labels as `str(names)` or `json.dumps(names)`. Nothing is evaluated: besides literals only the
//! constructors are known that Python prints around them, such as `OrderedDict([(0, 'cat')])` and `np.str_('cat')`.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Literal of Python or JSON.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    Text(String),
    /// Number that is no integer, or a word such as `None` or `true`, as it is written.
    Word(String),
    Integer(i64),
    /// List, tuple or array.
    List(Vec<Literal>),
    /// Dict, with all entries in the order of the text, also those of equal keys.
    Dict(Vec<(Literal, Literal)>),
    Set,
}

/// Text that is no literal of Python or JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("character {at}: {reason}")]
pub struct LiteralError {
    /// Place in the text, in characters from 1 on.
    pub at: usize,
    /// Reason why the text is no literal there.
    pub reason: LiteralReason,
}

/// Reason why a text is no literal of Python or JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LiteralReason {
    /// The text ends too early.
    #[error("the text ends inside a value")]
    End,
    /// A character is not what may follow.
    #[error("`{0}` is not expected")]
    Unexpected(char),
    /// An escape sequence is wrong, or one that names a character (`\N`).
    #[error("the escape sequence is not known")]
    Escape,
    /// A text has a prefix other than `r`, `u` and `b`.
    #[error("a text with the prefix `{0}` cannot be read")]
    Prefix(String),
    /// Something other than a literal has to be evaluated.
    #[error("`{0}` is no literal")]
    Name(String),
    /// Values are nested too deeply.
    #[error("values are nested too deeply")]
    Depth,
}

/// Parses JSON, or else a Python literal; values with commas between them are a tuple.
pub(crate) fn parse(text: &str) -> Result<Literal, LiteralError> {
    if let Ok(literal) = serde_json::from_str(text) {
        return Ok(literal);
    }
    let mut parser = Parser { rest: text.chars().collect(), at: 0 };
    let literal = parser.sequence(None, 0)?;
    match parser.peek() {
        Some(sign) => Err(parser.error(LiteralReason::Unexpected(sign))),
        None => Ok(literal),
    }
}

impl<'de> Deserialize<'de> for Literal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Literal;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Literal, E> {
                Ok(Literal::Word(value.to_string()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Literal, E> {
                Ok(Literal::Integer(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Literal, E> {
                Ok(i64::try_from(value).map_or_else(|_| Literal::Word(value.to_string()), Literal::Integer))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Literal, E> {
                Ok(Literal::Word(format!("{value:?}")))
            }

            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Literal, E> {
                Ok(Literal::Text(value.to_owned()))
            }

            fn visit_unit<E>(self) -> Result<Literal, E> {
                Ok(Literal::Word("null".into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Literal, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Literal::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Literal, A::Error> {
                let mut dict = Vec::new();
                while let Some((key, value)) = entries.next_entry::<String, Literal>()? {
                    dict.push((Literal::Text(key), value));
                }
                Ok(Literal::Dict(dict))
            }

            fn visit_bytes<E: serde::de::Error>(self, _: &[u8]) -> Result<Literal, E> {
                Err(E::custom("bytes"))
            }
        }
        deserializer.deserialize_any(Any).map_err(D::Error::custom)
    }
}

/// Constructors that Python prints around values.
const CONSTRUCTORS: [&str; 11] = [
    "OrderedDict",
    "array",
    "deque",
    "dict",
    "dict_keys",
    "dict_values",
    "int32",
    "int64",
    "list",
    "str_",
    "tuple",
];

struct Parser {
    rest: Vec<char>,
    at: usize,
}

impl Parser {
    fn error(&self, reason: LiteralReason) -> LiteralError {
        LiteralError { at: self.at + 1, reason }
    }

    /// The next character after white space.
    fn peek(&mut self) -> Option<char> {
        while self.rest.get(self.at).is_some_and(|sign| sign.is_whitespace() || *sign == '\u{feff}') {
            self.at += 1;
        }
        self.rest.get(self.at).copied()
    }

    fn next(&mut self) -> Result<char, LiteralError> {
        let sign = self.rest.get(self.at).copied().ok_or_else(|| self.error(LiteralReason::End))?;
        self.at += 1;
        Ok(sign)
    }

    fn eat(&mut self, sign: char) -> bool {
        let found = self.peek() == Some(sign);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: char) -> Result<(), LiteralError> {
        match self.peek() {
            Some(found) if found == sign => {
                self.at += 1;
                Ok(())
            }
            Some(found) => Err(self.error(LiteralReason::Unexpected(found))),
            None => Err(self.error(LiteralReason::End)),
        }
    }

    /// Values up to `end`; without an end or in round brackets, a single one without comma stands for itself.
    fn sequence(&mut self, end: Option<char>, depth: usize) -> Result<Literal, LiteralError> {
        let (mut items, mut commas) = (Vec::new(), false);
        let mut adjacent = 1;
        while self.peek() != end {
            let item = match self.texts()? {
                Some(texts) => {
                    adjacent = texts.len();
                    // numpy prints no commas between texts; elsewhere Python joins them.
                    if end == Some(']') && items.is_empty() && adjacent > 1 && self.peek() == end {
                        items.extend(texts.into_iter().map(Literal::Text));
                        break;
                    }
                    Literal::Text(texts.concat())
                }
                None => self.value(depth)?,
            };
            items.push(item);
            if !self.eat(',') {
                break;
            }
            commas = true;
        }
        if let Some(end) = end {
            self.expect(end)?;
        }
        let itself = end != Some(']') && !commas && items.len() == 1 && adjacent == 1;
        match items.pop() {
            Some(only) if itself => Ok(only),
            Some(last) => {
                items.push(last);
                Ok(Literal::List(items))
            }
            None if end.is_none() => Err(self.error(LiteralReason::End)),
            None => Ok(Literal::List(items)),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Literal, LiteralError> {
        /// Labels are at most in a list in a dict in another.
        const DEEPEST: usize = 16;
        if depth > DEEPEST {
            return Err(self.error(LiteralReason::Depth));
        }
        if let Some(texts) = self.texts()? {
            return Ok(Literal::Text(texts.concat()));
        }
        match self.peek().ok_or_else(|| self.error(LiteralReason::End))? {
            '[' => {
                self.at += 1;
                self.sequence(Some(']'), depth + 1)
            }
            '(' => {
                self.at += 1;
                self.sequence(Some(')'), depth + 1)
            }
            '{' => {
                self.at += 1;
                self.dict(depth + 1)
            }
            sign if sign.is_alphabetic() || sign == '_' => self.name(depth),
            sign if sign.is_ascii_digit() || matches!(sign, '+' | '-' | '.') => self.number(),
            sign => Err(self.error(LiteralReason::Unexpected(sign))),
        }
    }

    fn dict(&mut self, depth: usize) -> Result<Literal, LiteralError> {
        let (mut entries, mut is_set) = (Vec::new(), false);
        while self.peek() != Some('}') {
            let key = self.value(depth)?;
            if self.eat(':') {
                entries.push((key, self.value(depth)?));
            } else {
                is_set = true;
            }
            if !self.eat(',') {
                break;
            }
        }
        self.expect('}')?;
        Ok(if is_set { Literal::Set } else { Literal::Dict(entries) })
    }

    /// A word such as `None`, or a constructor with its first argument.
    fn name(&mut self, depth: usize) -> Result<Literal, LiteralError> {
        let name = self.word();
        if !self.eat('(') {
            let known = matches!(
                &*name,
                "None" | "True" | "False" | "null" | "true" | "false" | "nan" | "inf" | "NaN"
            );
            return if known { Ok(Literal::Word(name)) } else { Err(self.error(LiteralReason::Name(name))) };
        }
        let short = name.rsplit('.').next().unwrap_or_default();
        if !CONSTRUCTORS.contains(&short) {
            return Err(self.error(LiteralReason::Name(name)));
        }
        let first = if self.peek() == Some(')') { Literal::List(Vec::new()) } else { self.value(depth + 1)? };
        while self.eat(',') {
            if self.peek() == Some(')') {
                break;
            }
            // `dtype=object` and the like say nothing about the labels.
            if self.word().is_empty() || !self.eat('=') {
                return Err(self.error(LiteralReason::Name(name)));
            }
            if self.texts()?.is_none() && self.word().is_empty() {
                return Err(self.error(LiteralReason::Name(name)));
            }
        }
        self.expect(')')?;
        Ok(if matches!(short, "OrderedDict" | "dict") { pairs(first) } else { first })
    }

    fn word(&mut self) -> String {
        let _ = self.peek();
        let signs = self.rest[self.at..]
            .iter()
            .take_while(|sign| sign.is_alphanumeric() || matches!(sign, '_' | '.'));
        let word: String = signs.collect();
        self.at += word.chars().count();
        word
    }

    fn number(&mut self) -> Result<Literal, LiteralError> {
        let start = self.at;
        let part = |sign: &char| sign.is_ascii_alphanumeric() || matches!(sign, '+' | '-' | '.' | '_');
        let text: String = self.rest[start..].iter().take_while(|sign| part(sign)).collect();
        self.at += text.chars().count();
        let digits = text.trim_start_matches(['+', '-']);
        let is_padded =
            digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
        if let (Ok(number), false) = (text.replace('_', "").parse(), is_padded) {
            return Ok(Literal::Integer(number));
        }
        if is_padded || text.parse::<f64>().is_ok() {
            return Ok(Literal::Word(text));
        }
        self.at = start;
        Err(self.error(LiteralReason::Name(text)))
    }

    /// Texts that follow each other without commas; none where no text begins.
    fn texts(&mut self) -> Result<Option<Vec<String>>, LiteralError> {
        let mut texts = Vec::new();
        while let Some(prefix) = self.prefix()? {
            let text = self.text(prefix.contains('r'), prefix.contains('b'))?;
            texts.push(text);
        }
        Ok(Some(texts).filter(|texts| !texts.is_empty()))
    }

    /// Prefix of the text that begins here, in small letters.
    fn prefix(&mut self) -> Result<Option<String>, LiteralError> {
        let _ = self.peek();
        let letters = self.rest[self.at..].iter().take_while(|sign| sign.is_ascii_alphabetic()).take(3);
        let prefix: String = letters.map(char::to_ascii_lowercase).collect();
        let is_text = matches!(self.rest.get(self.at + prefix.len()), Some('\'' | '"'));
        if !is_text {
            return Ok(None);
        }
        if !matches!(&*prefix, "" | "r" | "u" | "b" | "rb" | "br") {
            return Err(self.error(LiteralReason::Prefix(prefix)));
        }
        self.at += prefix.len();
        Ok(Some(prefix))
    }

    fn text(&mut self, is_raw: bool, is_bytes: bool) -> Result<String, LiteralError> {
        let quote = self.next()?;
        let triple = self.rest[self.at..].starts_with(&[quote; 2]);
        if triple {
            self.at += 2;
        }
        let mut text = String::new();
        loop {
            match self.next()? {
                end if end == quote && !triple => return Ok(text),
                end if end == quote && self.rest[self.at..].starts_with(&[quote; 2]) => {
                    self.at += 2;
                    return Ok(text);
                }
                '\\' if is_raw => {
                    text.push('\\');
                    text.push(self.next()?);
                }
                '\\' => text.extend(self.escape(is_bytes)?),
                '\n' if !triple => {
                    self.at -= 1;
                    return Err(self.error(LiteralReason::Unexpected('\n')));
                }
                sign => text.push(sign),
            }
        }
    }

    /// Decodes an escape sequence; an unknown one stands for itself, as in Python.
    fn escape(&mut self, is_bytes: bool) -> Result<Vec<char>, LiteralError> {
        let sign = self.next()?;
        let one = |sign| Ok(vec![sign]);
        match sign {
            '\n' => Ok(Vec::new()),
            '\\' | '\'' | '"' => one(sign),
            'a' => one('\u{7}'),
            'b' => one('\u{8}'),
            'f' => one('\u{c}'),
            'n' => one('\n'),
            'r' => one('\r'),
            't' => one('\t'),
            'v' => one('\u{b}'),
            '0'..='7' => {
                self.at -= 1;
                let digits = self.rest[self.at..].iter().take(3).take_while(|sign| matches!(sign, '0'..='7'));
                let digits: String = digits.collect();
                self.at += digits.len();
                self.character(u32::from_str_radix(&digits, 8).ok(), is_bytes)
            }
            'x' => {
                let code = self.hexadecimal(2);
                self.character(code, is_bytes)
            }
            'u' | 'U' if !is_bytes => {
                let high = self.hexadecimal(if sign == 'u' { 4 } else { 8 });
                let code = match high {
                    // A pair of surrogates is one character, as in JSON.
                    Some(high @ 0xd800..0xdc00) if self.rest[self.at..].starts_with(&['\\', 'u']) => {
                        self.at += 2;
                        let low = self.hexadecimal(4).filter(|low| (0xdc00..0xe000).contains(low));
                        low.map(|low| 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))
                    }
                    code => code,
                };
                self.character(code, false)
            }
            'N' if !is_bytes => Err(self.error(LiteralReason::Escape)),
            sign => Ok(vec!['\\', sign]),
        }
    }

    fn hexadecimal(&mut self, count: usize) -> Option<u32> {
        let digits: String = self.rest.get(self.at..self.at + count)?.iter().collect();
        self.at += count;
        u32::from_str_radix(&digits, 16).ok().filter(|_| !digits.starts_with('+'))
    }

    /// The character `code`; bytes that are no ASCII depend on an encoding, which is not known.
    fn character(&self, code: Option<u32>, is_bytes: bool) -> Result<Vec<char>, LiteralError> {
        let known = code.filter(|&code| !is_bytes || code < 0x80).and_then(char::from_u32);
        known.map(|sign| vec![sign]).ok_or_else(|| self.error(LiteralReason::Escape))
    }
}

/// A list of pairs as a dict.
fn pairs(literal: Literal) -> Literal {
    let Literal::List(items) = &literal else { return literal };
    let pair = |item: &Literal| match item {
        Literal::List(pair) => <[Literal; 2]>::try_from(pair.clone()).ok().map(Into::into),
        _ => None,
    };
    items.iter().map(pair).collect::<Option<_>>().map_or(literal, Literal::Dict)
}
