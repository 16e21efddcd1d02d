//! Steps from logits to probabilities.

/// Computes the softmax of an image's logits at a temperature; the largest is subtracted first, so that nothing overflows.
pub fn softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let powers: Vec<f64> =
        logits.iter().map(|&logit| ((f64::from(logit) - largest) / temperature).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// Computes the sigmoid, `1 / (1 + exp(-x))`.
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Index of the largest logit; of equal ones the first.
pub fn most_likely(logits: &[f32]) -> usize {
    let larger =
        |best: usize, (class, &logit): (usize, &f32)| if logit > logits[best] { class } else { best };
    logits.iter().enumerate().fold(0, larger)
}
