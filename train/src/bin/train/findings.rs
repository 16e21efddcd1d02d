//! Sentences about what was found in a data set, for the start of a run and for a dry run.

use ferronnx_infer::escape;
use ferronnx_train::data::augment::Augment;
use ferronnx_train::data::duplicates::{Copy, Duplicates};
use ferronnx_train::data::survey::{Range, Survey};
use ferronnx_train::run::Split;
use indicatif::HumanCount;

/// Number of images named in a sentence.
const NAMED: usize = 3;

/// Warns of validation and test images that earlier parts have too.
pub fn leaks(found: &Duplicates) -> Vec<String> {
    let sentence = |part: Split| {
        let leaks = found.leaks(part);
        let pair = |[copy, earlier]: &[&Copy; 2]| format!("{} is {}", path(copy), path(earlier));
        (!leaks.is_empty()).then(|| {
            let have = if leaks.len() == 1 { "has" } else { "have" };
            let earlier = if part == Split::Test { "training or validation" } else { "training" };
            let named = few(leaks.iter().map(pair), leaks.len());
            format!(
                "{} {have} the content of {earlier} images: the {part} accuracy will be too high ({named})",
                images(leaks.len(), part)
            )
        })
    };
    [Split::Validation, Split::Test].into_iter().filter_map(sentence).collect()
}

/// Warns of images with equal content and different classes.
pub fn contradictions(found: &Duplicates) -> Option<String> {
    let groups: Vec<_> = found.contradictions().collect();
    let labelled = |copy: &Copy| format!("{}: {}", path(copy), escape::name(&copy.classes.join(";")));
    let group = |group: &&Vec<Copy>| group.iter().take(NAMED).map(labelled).collect::<Vec<_>>().join(" = ");
    (!groups.is_empty()).then(|| {
        let named = few(groups.iter().map(group), groups.len());
        let are = if groups.len() == 1 { "image is" } else { "images are" };
        format!(
            "{} {are} there several times, with different classes ({named})",
            HumanCount(groups.len() as u64)
        )
    })
}

/// Notes images that a part holds several times.
pub fn repeated(found: &Duplicates) -> Option<String> {
    let part = |part: Split| {
        let count = found.repeated(part);
        (count > 0).then(|| images(count, part))
    };
    let parts: Vec<_> = [Split::Train, Split::Validation, Split::Test].into_iter().filter_map(part).collect();
    (!parts.is_empty()).then(|| format!("content that its part has already: {}", parts.join(", ")))
}

/// Warns of 16-bit images that are nearly black as 8-bit ones; `all` is the number of images that the survey is of.
pub fn dark(survey: &Survey, all: usize) -> Option<String> {
    let Range { images, largest, used, .. } = survey.sixteen_bits.filter(Range::is_dark)?;
    let (percent, levels) = (100.0 * used, (255.0 * used).round() as u32 + 1);
    let images = match survey.images < all {
        true => format!(
            "{images} 16-bit images among {} of {} that were looked at",
            survey.images,
            HumanCount(all as u64)
        ),
        false => format!("{images} 16-bit images"),
    };
    Some(format!(
        "the values of {images} use {percent:.1} % of their range (up to {} of 65,535): as 8-bit images they \
         are dark, with {levels} of 256 levels; scale their values before training, and in the same way before \
         classifying",
        HumanCount(largest.into()),
    ))
}

/// Notes that a network with one channel is enough.
pub fn colourless(survey: &Survey, channels: usize) -> Option<String> {
    let all = survey.is_colourless() && channels > 1;
    all.then(|| {
        format!(
            "all {} images looked at are gray: --channels gray trains a network of one channel",
            survey.decoded()
        )
    })
}

/// Notes settings of a recipe that change nothing of gray images.
pub fn idle(augment: &Augment, channels: usize) -> Option<String> {
    let idle = channels == 1 && (augment.hue > 0.0 || augment.saturation > 0.0);
    idle.then(|| "gray images have no hue and saturation: the recipe's changes of them do nothing".into())
}

/// Number of images of a part.
fn images(count: usize, part: Split) -> String {
    let part = if part == Split::Train { "training".into() } else { part.to_string() };
    format!("{} {part} image{}", HumanCount(count as u64), if count == 1 { "" } else { "s" })
}

fn path(copy: &Copy) -> String {
    escape::path(&copy.path).to_string()
}

/// Joins the first of `count` names.
fn few(names: impl Iterator<Item = String>, count: usize) -> String {
    let named = names.take(NAMED).collect::<Vec<_>>().join(", ");
    match count.saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {} more", HumanCount(more as u64)),
    }
}
