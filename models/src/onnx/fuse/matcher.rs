//! Questions that patterns ask of a graph; each answer is what was found, or why it is not as it should be.

use std::ops::Deref;

use ndarray::ArrayD;

use crate::onnx::index::Index;

/// The first respect in which a candidate is not the pattern, for the user to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch(pub String);

pub type Result<T> = std::result::Result<T, Mismatch>;

/// A graph in which patterns are looked for.
pub struct Matcher<'g> {
    pub index: Index<'g>,
    /// Number of which the lengths of weights' rows are multiples.
    pub block: usize,
}

impl<'g> Deref for Matcher<'g> {
    type Target = Index<'g>;

    fn deref(&self) -> &Index<'g> {
        &self.index
    }
}

fn mismatch<T>(reason: impl Into<String>) -> Result<T> {
    Err(Mismatch(reason.into()))
}

impl<'g> Matcher<'g> {
    /// Name of the standard operator at `node`; nothing for others.
    pub fn operator(&self, node: usize) -> &'g str {
        self.node(node).standard()
    }

    /// The operand `at` of the node, which has to have one.
    pub fn input(&self, node: usize, at: usize) -> Result<&'g str> {
        let node = self.node(node);
        node.input(at).ok_or_else(|| Mismatch(format!("{} lacks an input", node.name)))
    }

    /// The one result of the node.
    pub fn output(&self, node: usize) -> Result<&'g str> {
        let node = self.node(node);
        node.only_output().ok_or_else(|| Mismatch(format!("{} has not one output", node.name)))
    }

    /// The value before it was made a number of another precision.
    pub fn before_cast(&self, value: &'g str) -> &'g str {
        self.producer_of(value, "Cast").and_then(|cast| self.node(cast).input(0)).unwrap_or(value)
    }

    /// Checks that these are all that read `value`, and nobody fetches it.
    pub fn read_only_by(&self, value: &str, readers: &[usize]) -> Result<()> {
        if self.is_output(value) {
            return mismatch(format!("{value} is an output of the network"));
        }
        match self.readers(value).iter().all(|reader| readers.contains(reader)) {
            true => Ok(()),
            false => mismatch(format!("{value} is read elsewhere too")),
        }
    }

    /// The only reader of `value`, which is one of these operators.
    pub fn only(&self, value: &str, operators: &[&str]) -> Result<usize> {
        let none = || mismatch(format!("no {} reads {value}", operators.join(" or ")));
        let [first, ..] = *self.readers(value) else { return none() };
        self.read_only_by(value, &[first])?;
        if operators.contains(&self.operator(first)) { Ok(first) } else { none() }
    }

    /// Checks that `node` takes these two, in any order.
    pub fn joins(&self, node: usize, a: &str, b: &str) -> Result<()> {
        match &self.node(node).inputs[..] {
            [first, second] if (first == a && second == b) || (first == b && second == a) => Ok(()),
            _ => mismatch(format!("{} takes others than {a} and {b}", self.node(node).name)),
        }
    }

    /// The first node that reads what `node` reads and is wanted.
    pub fn beside(&self, node: usize, wanted: impl Fn(usize) -> bool) -> Option<usize> {
        let x = self.node(node).input(0)?;
        // Files of half precision take their means in single.
        let readers = [x, self.before_cast(x)].map(|x| self.readers(x)).concat();
        readers.into_iter().find(|&reader| reader != node && wanted(reader))
    }

    /// The value that `mean` takes means of, and `other` reads too.
    pub fn common(&self, mean: usize, other: usize) -> Result<&'g str> {
        let x = self.input(mean, 0)?;
        match self.node(other).inputs.iter().any(|input| input == x) {
            true => Ok(x),
            false => mismatch("it is of half precision, and not of 32-bit floats"),
        }
    }

    /// Checks that something of `node` is as it should be.
    pub fn expect(&self, node: usize, what: &str, holds: bool) -> Result<()> {
        match holds {
            true => Ok(()),
            false => mismatch(format!("{what} of {} is another", self.node(node).name)),
        }
    }

    /// True if the attribute `name` is this number.
    pub fn is_int(&self, node: usize, name: &str, default: i64, value: i64) -> bool {
        self.node(node).int(name, default) == Some(value)
    }

    /// True if the attribute `name` is these numbers.
    pub fn is_ints(&self, node: usize, name: &str, default: &[i64], values: &[i64]) -> bool {
        self.node(node).ints(name, default) == Some(values)
    }

    /// True if a convolution or a pool pads by its `pads` alone.
    pub fn pads_as_said(&self, node: usize) -> bool {
        self.node(node).text("auto_pad", "NOTSET") == Some("NOTSET")
    }

    /// Number of channels, rounded up to whole blocks.
    pub fn padded(&self, channels: usize) -> usize {
        channels.next_multiple_of(self.block.max(1))
    }

    /// Checks that the convolution at `node`, whose kernel has these odd sides, is one of all channels and keeps the size.
    pub fn keeps_size(&self, node: usize, sides: &[usize]) -> Result<()> {
        let ones = vec![1; sides.len()];
        let half: Vec<_> = sides.iter().map(|&side| side as i64 / 2).collect();
        let pads = self.is_ints(node, "pads", &vec![0; 2 * sides.len()], &[&half[..], &half].concat());
        self.expect(node, "pads", pads && self.pads_as_said(node))?;
        self.expect(node, "strides", self.is_ints(node, "strides", &ones, &ones))?;
        self.expect(node, "dilations", self.is_ints(node, "dilations", &ones, &ones))?;
        self.expect(node, "group", self.is_int(node, "group", 1, 1))
    }

    /// Checks that a reduction keeps its dimensions.
    pub fn keeps_dimensions(&self, node: usize) -> Result<()> {
        self.expect(node, "keepdims", self.is_int(node, "keepdims", 1, 1))
    }

    /// Axes of a value of `rank` dimensions, from 0 on, in order: an attribute in old opsets, a constant in new ones.
    pub fn axes(&self, node: usize, rank: usize) -> Vec<i64> {
        let node = self.node(node);
        let mut axes = match (node.ints("axes", &[]), node.input(1)) {
            (Some(axes), _) if !axes.is_empty() => axes.to_vec(),
            (_, Some(name)) => self.longs(name).unwrap_or_default(),
            _ => Vec::new(),
        };
        axes.iter_mut().for_each(|axis| *axis += if *axis < 0 { rank as i64 } else { 0 });
        axes.sort_unstable();
        axes
    }

    /// A constant of 32-bit floats that is not empty.
    pub fn floats(&self, name: &'g str) -> Result<ArrayD<f32>> {
        let tensor = self.constant(name).ok_or_else(|| Mismatch(format!("{name} is no constant")))?;
        let values = tensor.to_array::<f32>().ok().filter(|values| !values.is_empty());
        values.ok_or_else(|| match tensor.element() {
            crate::onnx::Element::Float => Mismatch(format!("{name} is of another shape")),
            _ => Mismatch(format!("{name} is not of 32-bit floats")),
        })
    }
}
