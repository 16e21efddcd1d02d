//! Numbers that travel to the device in one transfer.

use tch::{Kind, TchError, Tensor};

/// Collects numbers of several tensors, to be copied to the device at once.
///
/// A transfer costs a GPU's driver more than the few numbers that an image's labels and random draws are.
#[derive(Debug, Default)]
pub(super) struct Parcel {
    /// Whole numbers, and the bits of floats.
    words: Vec<i32>,
    parts: Vec<Part>,
}

/// A tensor of a parcel.
#[derive(Debug)]
struct Part {
    start: usize,
    shape: Vec<i64>,
    floats: bool,
}

impl Parcel {
    /// Adds whole numbers of at most 31 bits, as a tensor of 64-bit integers of this shape.
    pub fn integers(&mut self, shape: &[i64], numbers: impl IntoIterator<Item = i64>) {
        let words = numbers.into_iter().map(|number| i32::try_from(number).unwrap_or(i32::MAX));
        self.add(shape, false, words);
    }

    /// Adds floats, as a tensor of this shape.
    pub fn floats(&mut self, shape: &[i64], numbers: impl IntoIterator<Item = f32>) {
        self.add(shape, true, numbers.into_iter().map(|number| number.to_bits().cast_signed()));
    }

    fn add(&mut self, shape: &[i64], floats: bool, words: impl Iterator<Item = i32>) {
        let start = self.words.len();
        self.words.extend(words);
        self.parts.push(Part { start, shape: shape.to_vec(), floats });
    }

    /// All numbers as one tensor.
    pub fn packed(&self) -> Result<Tensor, TchError> {
        Tensor::f_from_slice(&self.words)
    }

    /// The tensors, in the order in which they were added, from the packed one on any device.
    pub fn unpack(&self, packed: &Tensor) -> Result<Vec<Tensor>, TchError> {
        let tensor = |part: &Part| {
            let count = part.shape.iter().product();
            let words = packed.f_narrow(0, part.start as i64, count)?;
            let numbers = match part.floats {
                true => words.f_view_dtype(Kind::Float)?,
                false => words.f_to_kind(Kind::Int64)?,
            };
            numbers.f_view(&part.shape[..])
        };
        self.parts.iter().map(tensor).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_comes_out() {
        let mut parcel = Parcel::default();
        parcel.integers(&[3], [1, -70_000, 1 << 30]);
        parcel.floats(&[2, 1, 2], [0.1, -0.0, f32::MAX, 3.0]);
        parcel.integers(&[1], [7]);
        let parts = parcel.unpack(&parcel.packed().unwrap()).unwrap();
        assert_eq!(parts[0], Tensor::from_slice(&[1_i64, -70_000, 1 << 30]));
        assert_eq!(parts[1], Tensor::from_slice(&[0.1_f32, -0.0, f32::MAX, 3.0]).view([2, 1, 2]));
        assert_eq!(parts[2], Tensor::from_slice(&[7_i64]));
    }
}
