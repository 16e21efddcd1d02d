//! Classes and parts of the images of an index.

use ferronnx_infer::image_folder::Split;
use ferronnx_infer::places::Label;

use super::{Found, FoundImage, ShardError};
use crate::data::Sample;
use crate::task::Task;

/// Samples of a data set in shards, by their parts.
#[derive(Debug)]
pub(in crate::data) struct Labelled {
    /// Names of the classes: sorted, or the numbers from 0 where labels are numbers.
    pub classes: Vec<String>,
    pub train: Vec<Sample>,
    pub validation: Option<Vec<Sample>>,
    pub test: Option<Vec<Sample>>,
}

/// Finds the classes of the training images, and gives all images their indices; `None` without training images.
///
/// # Errors
/// [`ShardError`] names the first image whose part or label is missing or unclear.
pub(in crate::data) fn labelled(found: Found, task: Task) -> Result<Option<Labelled>, ShardError> {
    let Found { labels, images } = found;
    let [mut train, mut validation, mut test, mut other] = [(); 4].map(|()| Vec::new());
    for image in images {
        match image.split {
            Some(Split::Train) => train.push(image),
            Some(Split::Validation) => validation.push(image),
            Some(Split::Test) => test.push(image),
            None => other.push(image),
        }
    }
    if let Some(image) = other.first().filter(|_| train.len() + validation.len() + test.len() > 0) {
        return Err(ShardError::NoPart(name(image)));
    }
    let train = if train.is_empty() { other } else { train };
    if train.is_empty() {
        return Ok(None);
    }
    let (classes, indices) = classes(&train, labels.iter().cloned().collect())?;
    if classes.is_empty() {
        return Err(ShardError::NoLabel(name(&train[0])));
    }
    let samples = |images: Vec<FoundImage>| -> Result<Vec<Sample>, ShardError> {
        images.into_iter().map(|image| sample(image, task, &indices, &labels)).collect()
    };
    let part = |images: Vec<FoundImage>| Some(images).filter(|images| !images.is_empty());
    Ok(Some(Labelled {
        train: samples(train)?,
        validation: part(validation).map(samples).transpose()?,
        test: part(test).map(samples).transpose()?,
        classes,
    }))
}

fn name(image: &FoundImage) -> String {
    image.name.to_string_lossy().into_owned()
}

/// Names of the classes of the training images, and the index of the class of each label.
fn classes(
    train: &[FoundImage],
    labels: Vec<Label>,
) -> Result<(Vec<String>, Vec<Option<usize>>), ShardError> {
    let mut is_used = vec![false; labels.len()];
    train.iter().flat_map(|image| image.labels.iter().flatten()).for_each(|&label| is_used[label] = true);
    let (mut names, mut highest) = (Vec::new(), None::<(usize, usize)>);
    for (position, label) in labels.iter().enumerate().filter(|(position, _)| is_used[*position]) {
        match label {
            Label::Name(name) => names.push(name.clone()),
            Label::Index(index) => highest = highest.max(Some((*index, position))),
        }
    }
    if let (Some(name), Some((number, _))) = (names.first(), highest) {
        return Err(ShardError::NamesAndNumbers { name: name.clone(), number });
    }
    if let Some((number, position)) = highest.filter(|(number, _)| *number >= train.len()) {
        let has = |image: &&FoundImage| image.labels.iter().flatten().any(|&label| label == position);
        let image = train.iter().find(has).map(name).unwrap_or_default();
        return Err(ShardError::NoIndex { image, number, images: train.len() });
    }
    names.sort();
    if let Some((highest, _)) = highest {
        names = (0..=highest).map(|index| index.to_string()).collect();
    }
    let index = |label: Label| match label {
        Label::Name(name) if highest.is_none() => names.binary_search(&name).ok(),
        Label::Index(index) if highest.is_some() => Some(index).filter(|&index| index < names.len()),
        _ => None,
    };
    let indices = labels.into_iter().map(index).collect();
    Ok((names, indices))
}

fn sample(
    image: FoundImage,
    task: Task,
    indices: &[Option<usize>],
    labels: &indexmap::IndexSet<Label>,
) -> Result<Sample, ShardError> {
    let found = image.labels.as_deref().ok_or_else(|| ShardError::NoLabel(name(&image)))?;
    match found.len() {
        0 if task == Task::SingleLabel => return Err(ShardError::NoLabel(name(&image))),
        2.. if task == Task::SingleLabel => return Err(ShardError::SeveralLabels(name(&image))),
        _ => {}
    }
    let class = |&label: &usize| {
        indices[label]
            .ok_or_else(|| ShardError::UnknownClass { image: name(&image), label: labels[label].to_string() })
    };
    let labels = found.iter().map(class).collect::<Result<_, _>>()?;
    Ok(Sample { path: image.name, labels })
}
