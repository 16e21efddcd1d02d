//! ROC and precision-recall curves of classes, each against all others.
//!
//! Definitions are scikit-learn's `roc_curve`, `roc_auc_score` and `average_precision_score`. A score that positives
//! and negatives share is one step of the curve.

use serde::Serialize;

/// Curves of a classifier: one for each class against the rest, and one over all decisions together.
#[derive(Debug, Clone, PartialEq)]
pub struct Rankings {
    /// Ranking by the score of each class, in the order of the labels.
    pub classes: Vec<Ranking>,
    /// Ranking of all decisions, an image and a class each, by their scores (micro-average).
    pub micro: Ranking,
}

/// Means of a metric over classes; `None` where no class has a value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Averages {
    /// Mean over the classes that have a value, each with the same weight.
    #[serde(rename = "macro")]
    pub macro_average: Option<f64>,
    /// Mean over the classes that have a value, weighted by their images.
    #[serde(rename = "weighted")]
    pub weighted_average: Option<f64>,
    /// Value over all decisions together.
    #[serde(rename = "micro")]
    pub micro_average: Option<f64>,
}

/// Positives and negatives of one class, ordered by score: its ROC and precision-recall curve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranking {
    positives: usize,
    negatives: usize,
    /// Distinct scores of positives, the highest first.
    steps: Vec<Step>,
}

/// Images at one score of a positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    /// Negatives between the previous, higher score and this one.
    passed: usize,
    /// Positives of this score.
    hits: usize,
    /// Negatives of this score.
    tied: usize,
}

/// Point of a curve, `[x, y]` in [0, 1].
pub type Point = [f64; 2];

impl Rankings {
    /// Ranks images by their scores: `rows` has a finite score for each of `classes` for each image, and
    /// `actual(image, class)` tells whether the class is right for the image.
    ///
    /// Only scores of positives are kept and sorted; negatives are counted between them. So thousands of classes need
    /// little memory.
    pub fn new<'a>(
        classes: usize,
        rows: impl Iterator<Item = &'a [f32]> + Clone,
        actual: impl Fn(usize, usize) -> bool,
    ) -> Self {
        let mut positives = vec![Vec::new(); classes];
        for (image, row) in rows.clone().enumerate() {
            for (class, &score) in row.iter().enumerate() {
                if actual(image, class) {
                    positives[class].push(score);
                }
            }
        }
        let mut micro = Counter::new(positives.concat());
        let mut counters: Vec<Counter> = positives.into_iter().map(Counter::new).collect();
        for (image, row) in rows.enumerate() {
            for (class, &score) in row.iter().enumerate() {
                if !actual(image, class) {
                    counters[class].add(score);
                    micro.add(score);
                }
            }
        }
        Self { classes: counters.into_iter().map(Counter::ranking).collect(), micro: micro.ranking() }
    }

    /// Averages of the areas under the ROC curves.
    pub fn roc_auc(&self) -> Averages {
        self.averages(Ranking::roc_auc)
    }

    /// Averages of the average precisions; the macro-average is the mean average precision (mAP).
    pub fn average_precision(&self) -> Averages {
        self.averages(Ranking::average_precision)
    }

    fn averages(&self, metric: fn(&Ranking) -> Option<f64>) -> Averages {
        let mean = |weight: fn(&Ranking) -> f64| {
            let weighted = |ranking| Some((metric(ranking)?, weight(ranking)));
            let found: Vec<(f64, f64)> = self.classes.iter().filter_map(weighted).collect();
            let total: f64 = found.iter().map(|(_, weight)| weight).sum();
            (total > 0.0).then(|| found.iter().map(|(value, weight)| value * weight).sum::<f64>() / total)
        };
        Averages {
            macro_average: mean(|_| 1.0),
            weighted_average: mean(|ranking| ranking.positives as f64),
            micro_average: metric(&self.micro),
        }
    }
}

impl Ranking {
    /// Ranks scores, each with whether it is a positive's.
    pub fn new(scores: impl Iterator<Item = (f32, bool)> + Clone) -> Self {
        let of = |wanted| scores.clone().filter(move |(_, actual)| *actual == wanted).map(|(score, _)| score);
        let mut counter = Counter::new(of(true).collect());
        of(false).for_each(|score| counter.add(score));
        counter.ranking()
    }

    /// Number of positives.
    pub fn positives(&self) -> usize {
        self.positives
    }

    /// Area under the ROC curve: the probability that a positive has a higher score than a negative, where ties count
    /// half. `None` without positives or without negatives.
    pub fn roc_auc(&self) -> Option<f64> {
        if self.positives == 0 || self.negatives == 0 {
            return None;
        }
        // Twice the number of pairs in the right order: a whole number, so nothing is rounded.
        let (mut above, mut pairs, mut seen) = (0, 0, 0);
        for step in &self.steps {
            pairs += 2 * step.passed * above + step.tied * (2 * above + step.hits);
            above += step.hits;
            seen += step.passed + step.tied;
        }
        pairs += 2 * (self.negatives - seen) * above;
        Some(pairs as f64 / (2.0 * self.positives as f64 * self.negatives as f64))
    }

    /// Average precision: the precision at each score, weighted by the growth of recall. `None` without positives.
    pub fn average_precision(&self) -> Option<f64> {
        let mut sum = 0.0;
        for ([before, hits], _, selected) in self.counts() {
            sum += (hits - before) as f64 * (hits as f64 / selected as f64);
        }
        (self.positives > 0).then(|| sum / self.positives as f64)
    }

    /// ROC curve from `[0, 0]` to `[1, 1]`: false positive rate and true positive rate. Empty where
    /// [`roc_auc`](Self::roc_auc) has no value.
    pub fn roc_curve(&self) -> Vec<Point> {
        if self.positives == 0 || self.negatives == 0 {
            return Vec::new();
        }
        let point = |negatives: usize, positives: usize| {
            [negatives as f64 / self.negatives as f64, positives as f64 / self.positives as f64]
        };
        let mut points = vec![[0.0, 0.0]];
        for ([before, hits], passed, selected) in self.counts() {
            points.push(point(passed, before));
            points.push(point(selected - hits, hits));
        }
        points.push([1.0, 1.0]);
        points.dedup();
        points
    }

    /// Precision-recall curve in steps, recall and precision, from recall 0 to 1; the area under it is the
    /// [`average_precision`](Self::average_precision). Empty without positives.
    pub fn precision_recall_curve(&self) -> Vec<Point> {
        let recall = |hits: usize| hits as f64 / self.positives as f64;
        self.counts()
            .flat_map(|([before, hits], _, selected)| {
                let precision = hits as f64 / selected as f64;
                [[recall(before), precision], [recall(hits), precision]]
            })
            .collect()
    }

    /// Counts at each step: positives above it and down to it, negatives above it, and all images down to it.
    fn counts(&self) -> impl Iterator<Item = ([usize; 2], usize, usize)> + '_ {
        let (mut hits, mut negatives) = (0, 0);
        self.steps.iter().map(move |step| {
            let (before, passed) = (hits, negatives + step.passed);
            hits += step.hits;
            negatives = passed + step.tied;
            ([before, hits], passed, hits + negatives)
        })
    }
}

/// Counts negatives at and between the scores of positives.
struct Counter {
    /// Scores of positives with their numbers of positives and negatives, the lowest first.
    scores: Vec<f32>,
    hits: Vec<usize>,
    tied: Vec<usize>,
    /// Negatives below each score and above the one before; the last are above all.
    between: Vec<usize>,
}

impl Counter {
    fn new(mut positives: Vec<f32>) -> Self {
        positives.sort_unstable_by(f32::total_cmp);
        let alike = || positives.chunk_by(|a, b| a == b);
        let (scores, hits): (Vec<_>, Vec<_>) = alike().map(|alike| (alike[0], alike.len())).unzip();
        let (tied, between) = (vec![0; scores.len()], vec![0; scores.len() + 1]);
        Self { scores, hits, tied, between }
    }

    fn add(&mut self, negative: f32) {
        let place = self.scores.partition_point(|&score| score < negative);
        match self.scores.get(place) {
            Some(&score) if score == negative => self.tied[place] += 1,
            _ => self.between[place] += 1,
        }
    }

    fn ranking(self) -> Ranking {
        let Self { hits, tied, between, .. } = self;
        let steps = (0..hits.len()).rev();
        Ranking {
            positives: hits.iter().sum(),
            negatives: tied.iter().chain(&between).sum(),
            steps: steps.map(|at| Step { passed: between[at + 1], hits: hits[at], tied: tied[at] }).collect(),
        }
    }
}
