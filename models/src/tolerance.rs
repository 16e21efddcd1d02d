//! Tolerance: differences of logits that rounding explains, by the precision of a file and the arithmetic that runs it.
//!
//! Measured on networks of this crate, relative to the largest logit: full arithmetic on another library moves logits by
//! 5e-7 at most (root mean square 2e-7), TensorFloat-32 by 7e-4 (2e-4). The bounds of 32-bit files are several times that.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::card::Precision;
use crate::certificate::Certificate;

/// Arithmetic of convolutions and matrix products over 32-bit floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arithmetic {
    /// Factors with all their 23 bits of mantissa.
    #[default]
    Full,
    /// TensorFloat-32 of NVIDIA GPUs: factors are rounded to 10 bits of mantissa, sums are not.
    Tf32,
}

impl fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full arithmetic",
            Self::Tf32 => "TF32 arithmetic",
        })
    }
}

/// Largest differences of logits to allow, relative to the largest logit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Tolerance {
    /// Bound of each difference.
    pub max: f64,
    /// Bound of the root mean square of all differences. Rounding hardly correlates across logits and images, and most
    /// faults do, so this bound is the sharper one.
    pub rms: f64,
    /// Largest share of images whose top-1 class may change, apart from ties.
    pub changed: f64,
}

impl Tolerance {
    /// Creates a tolerance that bounds each difference and their root mean square; no top-1 class may change.
    pub fn new(max: f64, rms: f64) -> Self {
        Self { max, rms, changed: 0.0 }
    }

    /// Creates a tolerance that bounds each difference, and their mean no further; no top-1 class may change.
    pub fn of_each(max: f64) -> Self {
        Self::new(max, max)
    }

    /// Tolerance of an export, for a file of `precision` on the images that it is compared on.
    ///
    /// Integers cut off what lies beyond the ranges of the calibration images, so that single logits can be far off in a
    /// sound file: a ResNet50 that lost one point of accuracy had a logit 0.9 off, with a root mean square of 0.04 and 0.6 %
    /// of the images with another class. It is judged by the mean, and by the images that change their class.
    pub fn of_export(precision: Precision) -> Self {
        match precision {
            Precision::Int8 => Self { max: 2.0, rms: 0.1, changed: 0.02 },
            _ => Self::of_each(Self::of(precision, Arithmetic::Full).max),
        }
    }

    /// Tolerance for a file of `precision` that runs in `arithmetic`.
    pub fn of(precision: Precision, arithmetic: Arithmetic) -> Self {
        let (max, rms) = match (precision, arithmetic) {
            (Precision::Fp32, Arithmetic::Full) => (1e-4, 5e-6),
            (Precision::Fp32, Arithmetic::Tf32) => (2e-3, 7e-4),
            (Precision::Fp16, _) => (1e-2, 4e-3),
            (Precision::Int8, _) => (0.1, 0.05),
        };
        Self::new(max, rms)
    }

    /// Tolerance for the file of `certificate`, of `precision`, that runs in `arithmetic`.
    ///
    /// In full arithmetic the certificate's bound is kept. The bound of the mean grows with what the export found: a
    /// network that magnifies rounding does so everywhere.
    pub fn of_certificate(certificate: &Certificate, precision: Precision, arithmetic: Arithmetic) -> Self {
        /// Excess over the largest difference at the export.
        const EXCESS: f64 = 4.0;
        let usual = Self::of(precision, arithmetic);
        let max = match arithmetic {
            Arithmetic::Full => certificate.tolerance,
            Arithmetic::Tf32 => certificate.tolerance.max(usual.max),
        };
        let rms = usual.rms.max(EXCESS * certificate.agreement.max_relative_difference);
        Self::new(max, rms.min(max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::tests::certificate;
    use crate::parity::Parity;

    #[test]
    fn rounding_to_fewer_bits_may_differ_more() {
        let all = [Precision::Fp32, Precision::Fp16, Precision::Int8];
        for pair in all.windows(2) {
            let [finer, coarser] = [pair[0], pair[1]].map(|one| Tolerance::of(one, Arithmetic::Tf32));
            assert!(finer.max < coarser.max && finer.rms < coarser.rms);
        }
        for precision in all {
            let [full, tf32] = [Arithmetic::Full, Arithmetic::Tf32].map(|one| Tolerance::of(precision, one));
            assert!(full.max <= tf32.max && full.rms <= tf32.rms && tf32.rms < tf32.max);
        }
    }

    #[test]
    fn the_certificate_decides_in_full_arithmetic() {
        let of = |certificate: &Certificate, arithmetic| {
            Tolerance::of_certificate(certificate, Precision::Fp32, arithmetic)
        };
        let mut certificate = certificate();
        assert_eq!(of(&certificate, Arithmetic::Full), Tolerance::new(1e-4, 5e-6));
        assert_eq!(of(&certificate, Arithmetic::Tf32), Tolerance::of(Precision::Fp32, Arithmetic::Tf32));
        certificate.tolerance = 1e-6;
        assert_eq!(of(&certificate, Arithmetic::Full), Tolerance::of_each(1e-6));
        (certificate.tolerance, certificate.agreement.max_relative_difference) = (1e-2, 5e-4);
        assert_eq!(of(&certificate, Arithmetic::Full), Tolerance::new(1e-2, 2e-3));
        assert_eq!(of(&certificate, Arithmetic::Tf32), Tolerance::new(1e-2, 2e-3));
    }

    #[test]
    fn int8_is_judged_by_the_mean_and_by_the_classes() {
        let sound = Parity {
            images: 100,
            agreeing: 91,
            ties: 7,
            max_relative_difference: 0.6,
            rms_relative_difference: 0.04,
            ..Parity::default()
        };
        let holds = |parity: &Parity| parity.holds(Tolerance::of_export(Precision::Int8));
        assert!(holds(&sound));
        assert!(!holds(&Parity { ties: 6, ..sound }), "classes change");
        assert!(!holds(&Parity { rms_relative_difference: 0.11, ..sound }), "all logits are off");
        assert!(!holds(&Parity { max_relative_difference: f64::INFINITY, ..sound }));
        assert!(!sound.holds(Tolerance::of_export(Precision::Fp16)));
    }
}
