//! Generated weights and inputs for tests and benchmarks.
//!
//! The generator of the golden outputs (`tests/goldens/generate.py`) computes the same values, so that no weights need to be
//! stored with them.

pub mod faults;
pub mod tf32;

use ndarray::ArrayD;

use crate::shapes::{self, ShapeError};
use crate::{Module, Weights};

/// Generates values in [0, 1): splitmix64 of the index, seeded with the FNV-1a hash of `name`.
fn uniform(name: &str, len: usize) -> impl Iterator<Item = f64> {
    let seed = name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    (1..=len as u64).map(move |index| {
        let mut z = seed.wrapping_add(index.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 40) as f64 / f64::from(1 << 24)
    })
}

fn array(name: &str, shape: &[usize], value: impl Fn(f64) -> f64) -> ArrayD<f32> {
    let values = uniform(name, shape.iter().product()).map(|u| value(u) as f32).collect();
    ArrayD::from_shape_vec(shape, values).expect("as many values as the shape has")
}

/// Generates an input with values in [-2, 2).
pub fn input(shape: &[usize]) -> ArrayD<f32> {
    array("input", shape, |u| 4.0 * u - 2.0)
}

/// Generates weights that keep activations near 1, with non-trivial batch-norm statistics.
///
/// # Errors
/// [`ShapeError`] when `module` does not take inputs of shape `input`.
pub fn weights(module: &impl Module, input: &[usize]) -> Result<Weights, ShapeError> {
    let value = |name: &str, shape: &[usize]| match shape {
        [_] if name.ends_with("running_var") || name.ends_with("weight") => array(name, shape, |u| 0.5 + u),
        [_] => array(name, shape, |u| (u - 0.5) * 0.5),
        [_, fan_in @ ..] => {
            let bound = (3.0 / fan_in.iter().product::<usize>() as f64).sqrt();
            array(name, shape, |u| (2.0 * u - 1.0) * bound)
        }
        [] => array(name, shape, |u| u),
    };
    let params = shapes::describe(module, input)?.params;
    Ok(params.into_iter().map(|param| (param.name.clone(), value(&param.name, &param.shape))).collect())
}
