//! Random masks of dropout and stochastic depth.
//!
//! A mask is a hash of the [`Draws`] of the step, the number of the mask in the forward pass, and the place of the value.
//! No generator has a state, so a resumed run has the same masks to the bit, a GPU has those of the CPU, and a step that is
//! recorded as a CUDA graph gets new ones from the draws that it reads.

use std::cell::Cell;

use tch::{Kind, Tensor};

/// Random numbers of one training step, from which its masks are made.
#[derive(Debug)]
pub struct Draws {
    /// Two whole numbers below 2^24, which 32-bit floats hold exactly, `[2]`.
    numbers: Tensor,
    /// Masks made so far in this forward pass.
    masks: Cell<i64>,
}

/// Number of different values of each of the numbers.
pub const RANGE: u32 = 1 << 24;

impl Draws {
    /// Masks by two whole numbers in `0..`[`RANGE`], as 32-bit floats `[2]` on the device of the network.
    pub fn new(numbers: &Tensor) -> Self {
        Self { numbers: numbers.shallow_clone(), masks: Cell::new(0) }
    }

    /// Keeps each of the values of shape `shape` with probability `1 - rate`: factors of 0 or `1 / (1 - rate)`.
    pub(crate) fn factors(&self, shape: &[i64], rate: f64, like: &Tensor) -> Result<Tensor, tch::TchError> {
        let mask = self.masks.replace(self.masks.get() + 1);
        let numbers = self.numbers.f_to_kind(Kind::Int64)?;
        // Both keys depend on both numbers and the mask: neighbouring draws would give shifted masks otherwise.
        let first = hash(&numbers.f_select(0, 0)?.f_add_scalar(mask.wrapping_mul(0x9E37_79B9) & LOW)?)?;
        let second = hash(&numbers.f_select(0, 1)?.f_bitwise_xor_tensor(&first)?)?;
        let count = shape.iter().product::<i64>();
        let places = Tensor::f_arange(count, (Kind::Int64, like.device()))?;
        let mixed = hash(&places.f_add(&first)?)?;
        let mixed = hash(&mixed.f_bitwise_xor_tensor(&second)?)?;
        let kept = mixed.f_ge((rate * TWO_TO_32).round() as i64)?;
        kept.f_to_kind(like.kind())?.f_mul_scalar(1.0 / (1.0 - rate))?.f_view(shape)
    }
}

const TWO_TO_32: f64 = 4_294_967_296.0;
/// The low 32 bits.
const LOW: i64 = 0xFFFF_FFFF;

/// Mixes the low 32 bits of whole numbers. Constants: Christopher Wellons's hash-prospector; both are below 2^31, so that
/// no product leaves 63 bits.
fn hash(x: &Tensor) -> Result<Tensor, tch::TchError> {
    let low = |x: Tensor| x.f_bitwise_and(LOW);
    let shifted =
        |x: &Tensor, bits: i64| x.f_bitwise_xor_tensor(&x.f_bitwise_right_shift_tensor_scalar(bits)?);
    let x = low(x.shallow_clone())?;
    let x = low(shifted(&x, 16)?.f_mul_scalar(0x21F0_AAAD)?)?;
    let x = low(shifted(&x, 15)?.f_mul_scalar(0x735A_2D97)?)?;
    shifted(&x, 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(numbers: [f32; 2], masks: usize, rate: f64) -> Vec<Vec<f32>> {
        let draws = Draws::new(&Tensor::from_slice(&numbers));
        let like = Tensor::zeros([1], tch::kind::FLOAT_CPU);
        let next = |_| draws.factors(&[100, 200], rate, &like).unwrap();
        (0..masks).map(|mask| Vec::try_from(next(mask).view(-1)).unwrap()).collect()
    }

    /// Number of values that both keep, in standard deviations from that of independent masks.
    fn dependence(a: &[f32], b: &[f32], rate: f64) -> f64 {
        let both = a.iter().zip(b).filter(|(a, b)| **a > 0.0 && **b > 0.0).count() as f64;
        let (count, chance) = (a.len() as f64, (1.0 - rate) * (1.0 - rate));
        (both - count * chance) / (count * chance * (1.0 - chance)).sqrt()
    }

    #[test]
    fn values_are_dropped_by_rate_and_the_others_scaled() {
        for rate in [0.0, 0.2, 0.5, 0.9] {
            let values = &factors([5.0, 7.0], 1, rate)[0];
            let scale = (1.0 / (1.0 - rate)) as f32;
            assert!(values.iter().all(|&value| value == 0.0 || (value / scale - 1.0).abs() < 1e-6));
            let kept = values.iter().filter(|value| **value > 0.0).count() as f64;
            let count = values.len() as f64;
            let deviation = (count * rate * (1.0 - rate)).sqrt();
            assert!((kept - count * (1.0 - rate)).abs() <= 4.0 * deviation, "{rate}: {kept}");
        }
    }

    #[test]
    fn masks_depend_on_the_draws_alone_and_not_on_each_other() {
        let masks = factors([5.0, 7.0], 300, 0.5);
        assert_eq!(factors([5.0, 7.0], 300, 0.5), masks);
        let first = &masks[0];
        let others = [[6.0, 7.0], [5.0, 6.0], [7.0, 5.0], [16_777_215.0, 7.0]];
        let others = others.map(|numbers| factors(numbers, 1, 0.5).remove(0));
        for other in masks[1..].iter().chain(&others) {
            assert!(dependence(first, other, 0.5).abs() < 4.5);
            assert!(dependence(&first[1..], &other[..other.len() - 1], 0.5).abs() < 4.5);
        }
        // Rows, columns and neighbours are independent too.
        for shift in [1, 2, 64, 200, 1000] {
            assert!(dependence(&first[shift..], &first[..first.len() - shift], 0.5).abs() < 4.5, "{shift}");
        }
    }
}
