//! Axes of charts, with ticks at round numbers.

/// Axis of a chart: maps numbers to positions.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    min: f64,
    max: f64,
    log: bool,
    ticks: Vec<Tick>,
}

/// Tick of an axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Tick {
    /// Number at the tick.
    pub value: f64,
    /// Label at the tick.
    pub label: String,
}

/// Largest number of ticks of a vertical axis.
const TICKS: f64 = 5.0;

impl Axis {
    /// Creates a linear axis that covers finite `values`, within `bounds`.
    pub fn linear(values: impl IntoIterator<Item = f64>, bounds: [f64; 2]) -> Self {
        let (min, max) = padded(extent(values).unwrap_or((0.0, 1.0)), bounds);
        let step = round_step((max - min) / TICKS);
        let (first, last) = ((min / step + 1e-9).floor(), (max / step - 1e-9).ceil());
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        let label = |value: f64| match decimals {
            0..=4 => format!("{value:.decimals$}"),
            _ => format!("{value:.1e}"),
        };
        let ticks = (first as i64..=last as i64).map(|n| n as f64 * step);
        let ticks = ticks.map(|value| Tick { value, label: label(value) }).collect();
        Self { min: first * step, max: last * step, log: false, ticks }
    }

    /// Creates a logarithmic axis that covers finite, positive `values`.
    pub fn log(values: impl IntoIterator<Item = f64>) -> Self {
        let (min, max) = extent(values).unwrap_or((0.1, 1.0));
        let (mut first, mut last) = ((min.log10() + 1e-9).floor() as i32, (max.log10() - 1e-9).ceil() as i32);
        if first >= last {
            (first, last) = (last - 1, last + 1);
        }
        // Over more than two decades, powers of ten are enough. Otherwise ticks at 2 and 5 are added.
        let digits: &[f64] = if last - first > 2 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let every = ((last - first) as usize).div_ceil(TICKS as usize);
        let powers = (first..=last).step_by(every);
        let ticks = powers
            .flat_map(|power| digits.iter().map(move |digit| digit * 10f64.powi(power)))
            .filter(|&value| value <= 10f64.powi(last) * (1.0 + 1e-9))
            .map(|value| Tick { value, label: format!("{value:.0e}") })
            .collect();
        Self { min: 10f64.powi(first), max: 10f64.powi(last), log: true, ticks }
    }

    /// Creates an axis for integers from `first` to `last`, with a margin of 0.5 on both sides.
    pub fn whole(first: usize, last: usize) -> Self {
        let step = round_step((last - first) as f64 / 8.0).max(1.0) as usize;
        let ticks = (first..=last).filter(|n| n % step == 0);
        let ticks = ticks.map(|n| Tick { value: n as f64, label: n.to_string() }).collect();
        Self { min: first as f64 - 0.5, max: last as f64 + 0.5, log: false, ticks }
    }

    /// Ticks of the axis, in ascending order.
    pub fn ticks(&self) -> &[Tick] {
        &self.ticks
    }

    /// Position of `value` between the ends of the axis, which are 0 and 1.
    pub fn place(&self, value: f64) -> f64 {
        match self.log {
            true => (value / self.min).ln() / (self.max / self.min).ln(),
            false => (value - self.min) / (self.max - self.min),
        }
    }
}

/// Minimum and maximum.
fn extent(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    values.into_iter().fold(None, |extent, value| match extent {
        None => Some((value, value)),
        Some((min, max)) => Some((f64::min(min, value), f64::max(max, value))),
    })
}

/// Widens a range that is small compared with its values, within bounds, so that noise does not look like a trend.
fn padded((min, max): (f64, f64), [lowest, highest]: [f64; 2]) -> (f64, f64) {
    let padding = (0.05 * max.abs()).max(1e-6);
    if max - min > padding {
        return (min, max);
    }
    ((min - padding).max(lowest), (max + padding).min(highest))
}

/// Rounds a step up to 1, 2 or 5 times a power of ten.
fn round_step(step: f64) -> f64 {
    if step <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(step.log10().floor());
    let digit = [1.0, 2.0, 5.0].into_iter().find(|digit| digit * power >= step * (1.0 - 1e-9));
    digit.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks().iter().map(|tick| tick.label.as_str()).collect()
    }

    const ANY: [f64; 2] = [0.0, f64::INFINITY];

    #[test]
    fn linear_ticks_are_round_and_enclose_the_values() {
        let axis = Axis::linear([1.19, 1.89], ANY);
        assert_eq!(labels(&axis), ["1.0", "1.2", "1.4", "1.6", "1.8", "2.0"]);
        assert_eq!((axis.place(1.0), axis.place(2.0)), (0.0, 1.0));
        assert_eq!(labels(&Axis::linear([28.8, 55.3], [0.0, 100.0])), ["20", "30", "40", "50", "60"]);
        assert_eq!(labels(&Axis::linear([0.0, 100.0], [0.0, 100.0])), ["0", "20", "40", "60", "80", "100"]);
    }

    #[test]
    fn a_single_value_has_an_axis_within_the_bounds() {
        assert_eq!(labels(&Axis::linear([100.0], [0.0, 100.0])).last(), Some(&"100"));
        assert_eq!(
            labels(&Axis::linear([1.8841, 1.8856], ANY)),
            ["1.75", "1.80", "1.85", "1.90", "1.95", "2.00"]
        );
        assert_eq!(labels(&Axis::linear([0.0], ANY))[1], "2.0e-7");
        for axis in [Axis::linear([], ANY), Axis::linear([0.7], ANY), Axis::log([]), Axis::log([1e-3])] {
            assert!(axis.ticks().len() >= 2, "{axis:?}");
            assert!(axis.place(axis.ticks()[1].value).is_finite(), "{axis:?}");
        }
    }

    #[test]
    fn logarithmic_ticks_are_powers_of_ten_or_their_halves() {
        assert_eq!(
            labels(&Axis::log([1e-5, 1e-3])),
            ["1e-5", "2e-5", "5e-5", "1e-4", "2e-4", "5e-4", "1e-3"]
        );
        assert_eq!(labels(&Axis::log([1.5e-6, 1e-3])), ["1e-6", "1e-5", "1e-4", "1e-3"]);
        assert_eq!(labels(&Axis::log([1e-3])), ["1e-4", "2e-4", "5e-4", "1e-3", "2e-3", "5e-3", "1e-2"]);
        assert!(labels(&Axis::log([1e-12, 1.0])).len() <= 7);
        assert!((Axis::log([1e-5, 1e-3]).place(1e-4) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn epochs_have_whole_ticks() {
        assert_eq!(labels(&Axis::whole(1, 6)), ["1", "2", "3", "4", "5", "6"]);
        assert_eq!(labels(&Axis::whole(1, 50)), ["10", "20", "30", "40", "50"]);
        assert_eq!(labels(&Axis::whole(1, 1)), ["1"]);
        assert_eq!(Axis::whole(1, 1).place(1.0), 0.5);
    }
}
