//! Nearest embeddings by cosine similarity.

/// Embedding that is close to another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbour {
    /// Position of the embedding.
    pub index: usize,
    /// Cosine of the angle between both, in [-1, 1].
    pub similarity: f64,
}

/// Computes the cosine of the angle between two vectors of one length, in f64; 0 if one of them is 0.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let product: f64 = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
    match length(a) * length(b) {
        0.0 => 0.0,
        lengths => (product / lengths).clamp(-1.0, 1.0),
    }
}

/// Euclidean length of a vector.
pub(super) fn length(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt()
}

/// Finds the `top` embeddings of `rows` that are most similar to `query`, most similar first; ties keep their order.
pub fn nearest<'a>(query: &[f32], rows: impl IntoIterator<Item = &'a [f32]>, top: usize) -> Vec<Neighbour> {
    let rows = rows.into_iter().enumerate();
    let mut found: Vec<_> =
        rows.map(|(index, row)| Neighbour { index, similarity: cosine(query, row) }).collect();
    found.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
    found.truncate(top);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_angle_decides_and_not_the_length() {
        let rows: [&[f32]; 4] = [&[0.0, 9.0], &[1.0, 1.0], &[0.1, 0.0], &[-3.0, 0.0]];
        let found = nearest(&[2.0, 0.0], rows, 3);
        assert_eq!(found.iter().map(|one| one.index).collect::<Vec<_>>(), [2, 1, 0]);
        assert!((found[1].similarity - 0.5_f64.sqrt()).abs() < 1e-12 && found[0].similarity == 1.0);
        assert_eq!(cosine(&[2.0, 0.0], rows[3]), -1.0);
        assert_eq!(cosine(&[0.0, 0.0], rows[0]), 0.0);
        assert_eq!(cosine(&[3e38, 3e38], &[3e38, 3e38]), 1.0, "sums do not overflow");
    }
}
