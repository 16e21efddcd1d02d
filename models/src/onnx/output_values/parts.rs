//! Softmax, log-softmax and sigmoid that are written as several operators.

use super::Unclear;
use super::layout::Layout;
use super::walk::{Found, Kind, Meaning, Walk, operator};
use crate::onnx::node::Node;

impl<'g> Walk<'g> {
    /// Meaning of the result of `node` where it is the last operator of a softmax, log-softmax or sigmoid.
    pub fn parts(&self, node: &'g Node, layout: Option<&Layout>, depth: usize) -> Option<Meaning> {
        let decomposed = |kind| Some(Ok(Found::decomposed(kind, node)));
        let inner = |from: Kind, to: Kind| {
            let found = self.meaning(node.input(0)?, layout.cloned(), depth).and_then(Found::settled);
            match found {
                Ok(found) if found.kind == from => Some(Ok(Found::decomposed(to, node))),
                Ok(_) => None,
                Err(unclear) => Some(Err(unclear)),
            }
        };
        match operator(node) {
            "Exp" => return inner(Kind::LogProbabilities, Kind::Probabilities),
            "Log" => return inner(Kind::Probabilities, Kind::LogProbabilities),
            "Sub" => return self.log_softmax(node, layout),
            "Concat" if self.complement(node, layout, depth) => return decomposed(Kind::Probabilities),
            "LpNormalization" if node.int("p", 2) == Some(1) => {
                let axis = node.int("axis", -1)?;
                let over = layout.and_then(|layout| super::layout::resolve(&[axis], layout.rank()));
                let over = over.is_some_and(|axes| layout.is_some_and(|layout| layout.are_classes(&axes)));
                return if over && self.not_negative(node.input(0)?, depth) {
                    decomposed(Kind::Probabilities)
                } else {
                    None
                };
            }
            _ => {}
        }
        if self.inverse_of(node).is_some_and(|below| self.one_plus_exp(below).is_some()) {
            return decomposed(Kind::Scores);
        }
        let (above, below) = self.quotient(node)?;
        if self.one_plus_exp(below).is_some_and(|exp| exp == self.root(above)) {
            return decomposed(Kind::Scores);
        }
        match self.share(above, below, layout, depth)? {
            Ok(()) => decomposed(Kind::Probabilities),
            Err(unclear) => Some(Err(unclear)),
        }
    }

    /// Tells whether `above / below` are shares of a sum over the classes: numbers that are not negative, and their sum.
    fn share(
        &self,
        above: &'g str,
        below: &'g str,
        layout: Option<&Layout>,
        depth: usize,
    ) -> Option<Result<(), Unclear>> {
        let sum = self.producer(self.behind(below))?;
        let sums = matches!(operator(sum), "ReduceSum" | "ReduceL1");
        let same = self.root(sum.input(0)?) == self.root(above);
        (sums && same && self.not_negative(above, depth)).then(|| self.check_reduction(sum, layout))
    }

    /// Numerator and denominator of `a / b`, `a * (1 / b)` or `a * b^-1`.
    fn quotient(&self, node: &'g Node) -> Option<(&'g str, &'g str)> {
        let (a, b) = node.input(0).zip(node.input(1))?;
        match operator(node) {
            "Div" => Some((a, b)),
            "Mul" => {
                let over = |above, value| Some((above, self.inverse_of(self.producer(self.spread(value))?)?));
                over(a, b).or_else(|| over(b, a))
            }
            _ => None,
        }
    }

    /// Denominator of `1 / b`.
    fn inverse_of(&self, node: &'g Node) -> Option<&'g str> {
        let (a, b) = (node.input(0)?, node.input(1));
        match operator(node) {
            "Reciprocal" => Some(a),
            "Div" if self.is_number(Some(a), 1.0) => b,
            "Pow" if self.is_number(b, -1.0) => Some(a),
            _ => None,
        }
    }

    /// The power `e` in `1 + e`.
    fn one_plus_exp(&self, value: &'g str) -> Option<&'g str> {
        let add = self.producer(self.root(value)).filter(|node| operator(node) == "Add")?;
        let (a, b) = add.input(0).zip(add.input(1))?;
        let power = if self.is_number(Some(a), 1.0) { b } else { a };
        let other = if power == a { b } else { a };
        let power = self.root(power);
        let exp = self.producer(power).is_some_and(|node| operator(node) == "Exp");
        (exp && self.is_number(Some(other), 1.0)).then_some(power)
    }

    /// `x - ln(sum(exp(x)))`, with or without the maximum subtracted first.
    fn log_softmax(&self, node: &'g Node, layout: Option<&Layout>) -> Option<Meaning> {
        let (x, log) = node.input(0).zip(node.input(1))?;
        let total = self.producer(self.behind(log))?;
        let (sum, logits) = match operator(total) {
            "ReduceLogSumExp" => (total, total.input(0)?),
            "Log" => self.sum_of_exp(total)?,
            "Add" => {
                let (a, b) = total.input(0).zip(total.input(1))?;
                let shifted = |log: &'g str, maximum: &'g str| {
                    let log = self.producer(self.behind(log)).filter(|node| operator(node) == "Log")?;
                    let (sum, logits) = self.sum_of_exp(log)?;
                    let sub = self.producer(self.root(logits)).filter(|node| operator(node) == "Sub")?;
                    let same = self.behind(sub.input(1)?) == self.behind(maximum);
                    same.then_some((sum, sub.input(0)?))
                };
                shifted(a, b).or_else(|| shifted(b, a))?
            }
            _ => return None,
        };
        let same = self.root(logits) == self.root(x);
        let checked = || self.check_reduction(sum, layout);
        same.then(|| checked().map(|()| Found::decomposed(Kind::LogProbabilities, node)))
    }

    /// The sum in `ln(sum(exp(x)))`, and `x`.
    fn sum_of_exp(&self, log: &'g Node) -> Option<(&'g Node, &'g str)> {
        let sum = self.producer(self.behind(log.input(0)?)).filter(|node| operator(node) == "ReduceSum")?;
        let exp = self.producer(self.root(sum.input(0)?)).filter(|node| operator(node) == "Exp")?;
        Some((sum, exp.input(0)?))
    }

    /// True for `[1 - p, p]` or `[p, 1 - p]` over the classes, where `p` is a score.
    fn complement(&self, node: &'g Node, layout: Option<&Layout>, depth: usize) -> bool {
        let [a, b] = &node.inputs[..] else { return false };
        let axis = layout.zip(node.int("axis", 0));
        let axes = axis.and_then(|(layout, axis)| super::layout::resolve(&[axis], layout.rank()));
        let over = axes.is_some_and(|axes| layout.is_some_and(|layout| layout.are_classes(&axes)));
        let rest = |one: &'g str, score: &'g str| {
            let sub = self.producer(self.spread(one)).filter(|node| operator(node) == "Sub");
            let same = |sub: &'g Node| {
                self.is_number(sub.input(0), 1.0)
                    && sub.input(1).is_some_and(|value| self.spread(value) == self.spread(score))
            };
            sub.is_some_and(same) && self.is_score(score, depth)
        };
        over && (rest(a, b) || rest(b, a))
    }

    fn is_score(&self, value: &'g str, depth: usize) -> bool {
        let found = self.meaning(value, None, depth).and_then(Found::settled);
        found.is_ok_and(|found| found.kind == Kind::Scores)
    }

    /// True if no element of `value` can be negative.
    fn not_negative(&self, value: &'g str, depth: usize) -> bool {
        let Some(node) = self.producer(self.root(value)) else { return false };
        let operands = || node.input(0).zip(node.input(1));
        match operator(node) {
            "Abs" | "Exp" | "HardSigmoid" | "Relu" | "Sigmoid" | "Softmax" | "Softplus" | "Sqrt" => true,
            "Add" => operands().is_some_and(|(a, b)| {
                depth < 8
                    && [a, b].into_iter().all(|value| {
                        self.number(value).is_some_and(|number| number >= 0.0)
                            || self.not_negative(value, depth + 1)
                    })
            }),
            "Mul" => operands().is_some_and(|(a, b)| self.root(a) == self.root(b)),
            "Pow" => operands().is_some_and(|(base, exponent)| {
                let positive = self.number(base).is_some_and(|base| base > 0.0);
                positive || self.number(exponent).is_some_and(|exponent| exponent % 2.0 == 0.0)
            }),
            "Clip" => match node.float("min", f32::NAN) {
                Some(low) if !low.is_nan() => low >= 0.0,
                _ => node.input(1).and_then(|low| self.number(low)).is_some_and(|low| low >= 0.0),
            },
            _ => self.is_score(value, depth),
        }
    }

    /// The value before copies, inserted axes, and a tiny number that keeps a denominator from zero.
    fn behind(&self, mut value: &'g str) -> &'g str {
        /// Larger numbers would change shares visibly.
        const TINY: f64 = 1e-5;
        for _ in 0..8 {
            value = self.spread(value);
            let Some(node) = self.producer(value) else { break };
            let tiny = |bound: Option<&'g str>| {
                bound.and_then(|bound| self.number(bound)).is_some_and(|bound| (0.0..=TINY).contains(&bound))
            };
            let kept = match operator(node) {
                "Add" | "Max" if tiny(node.input(1)) => node.input(0),
                "Add" | "Max" if tiny(node.input(0)) => node.input(1),
                "Clip" if tiny(node.input(1)) && node.input(2).is_none() => node.input(0),
                _ => None,
            };
            match kept {
                Some(operand) => value = operand,
                None => break,
            }
        }
        value
    }

    /// The value before copies and inserted axes.
    fn spread(&self, mut value: &'g str) -> &'g str {
        for _ in 0..8 {
            value = self.root(value);
            match self
                .producer(value)
                .filter(|node| matches!(operator(node), "Expand" | "Reshape" | "Unsqueeze"))
            {
                Some(node) => value = node.input(0).unwrap_or(value),
                None => break,
            }
        }
        value
    }

    fn producer(&self, value: &str) -> Option<&'g Node> {
        self.index.producer(value).map(|at| self.index.node(at))
    }
}
