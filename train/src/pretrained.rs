//! Initialisation from pretrained weights: matching by name and shape, a new head, a cropped stem, a stem for gray images.
//!
//! A checkpoint has to hold the whole network, but for the head and the attention, and nothing more inside its modules:
//! a ResNet34 has all tensors of a ResNet18, in the same shapes, and its weights are of no use to one.
//!
//! The network's [roles](ferronnx_models::Roles) say which layers depend on the classes, which prefix published names
//! lack, and which kernel may be cropped.

use std::collections::HashSet;
use std::str::FromStr;

use ferronnx_models::Roles;
use ferronnx_models::checkpoint::families::Seems;
use ferronnx_models::checkpoint::network::same_values;
use ferronnx_models::checkpoint::{Candidate, Checkpoint, FormatError, Misfit, Sought, StoredTensor};
use globset::GlobSet;
use ndarray::{ArrayD, Axis, s};
use serde::{Deserialize, Serialize};

use crate::error::TorchError;
use crate::params::Params;
use crate::recipe::{PatternError, role};

/// Initialisation of a stem whose pretrained kernel is larger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StemInit {
    /// The centre of the pretrained kernel.
    #[default]
    Centre,
    /// The random values of a new layer.
    Random,
}

/// A name that is no [`StemInit`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an initialisation of the stem: use centre or random")]
pub struct ParseStemInitError(String);

impl FromStr for StemInit {
    type Err = ParseStemInitError;

    fn from_str(text: &str) -> Result<Self, ParseStemInitError> {
        match text {
            "centre" => Ok(Self::Centre),
            "random" => Ok(Self::Random),
            other => Err(ParseStemInitError(other.into())),
        }
    }
}

/// Names of the tensors that were loaded, adapted, left new and ignored.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Tensors taken from the file: unchanged, or summed over the channels of its RGB images.
    pub loaded: Vec<String>,
    /// Names of loaded stem weights that are the sums over the three channels of an RGB stem, for gray images. An RGB
    /// image of three equal channels gives the same values, but for the normalisation, whose numbers differ a little from
    /// channel to channel. So they count as loaded.
    pub summed: Vec<String>,
    /// Names of parameters initialised with the centre of a larger tensor in the file; they train like new ones.
    pub adapted: Vec<String>,
    /// Tensors of the network that were not loaded: they begin untrained and are never frozen unless by name.
    pub new: HashSet<String>,
    /// Tensors of the file that were not used, by the file's names, without `num_batches_tracked` counters.
    pub ignored: Vec<String>,
    /// Prefix of the file's names, with the keys that lead to them.
    pub prefix: String,
    /// Prefixes of other tensors in the file that would have fitted as well.
    pub alternatives: Vec<String>,
}

/// Reasons for which weights do not fit a network.
#[derive(Debug, thiserror::Error)]
pub enum PretrainedError {
    /// A tensor has another shape.
    #[error(
        "{name} has shape {found:?}, this network needs {expected:?}: the weights are {}",
        of_what(expected, found, seems)
    )]
    Shape {
        /// Name in the file.
        name: String,
        /// Shape in the network.
        expected: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
        /// Network that the file seems to hold.
        seems: Seems,
    },
    /// The file has the same tensor with and without prefix.
    #[error("{name} is there twice, as {first} and {second}")]
    Twice {
        /// Name in the network.
        name: String,
        /// Name in the file.
        first: String,
        /// The other name in the file.
        second: String,
    },
    /// The file holds a part of the network, or more than the network.
    #[error("the weights are of another architecture{seems}")]
    Other {
        /// Network that the file seems to hold.
        seems: Seems,
        /// The reason.
        source: Misfit,
    },
    /// The values of a tensor cannot be read.
    #[error(transparent)]
    Values(#[from] FormatError),
    /// A role of the network has a pattern that is not valid.
    #[error(transparent)]
    Roles(#[from] PatternError),
    /// libtorch failed.
    #[error(transparent)]
    Torch(#[from] TorchError),
}

impl PretrainedError {
    /// True if the weights are those of a network for gray images, and this one is for colours.
    pub fn is_for_gray_images(&self) -> bool {
        matches!(self, Self::Shape { expected, found, .. } if is_gray(expected, found))
    }
}

/// Tells whether the tensors are stems that differ in their channels only: one in the file, three in the network.
fn is_gray(expected: &[usize], found: &[usize]) -> bool {
    let is_for = |shape: &[usize], channels| shape.len() == 4 && shape[1] == channels;
    is_for(expected, 3) && is_for(found, 1) && expected[0] == found[0] && expected[2..] == found[2..]
}

/// Describes weights that do not fit.
fn of_what(expected: &[usize], found: &[usize], seems: &Seems) -> String {
    if is_gray(expected, found) {
        "for gray images".into()
    } else {
        format!("of another architecture{seems}")
    }
}

/// Copies the tensors of the network that `checkpoint` holds under any prefix into `params`.
///
/// A head for other classes stays new. So does a stem where the file has a larger kernel; with [`StemInit::Centre`] it
/// begins with the centre of that kernel. A stem for gray images is the sum of an RGB stem over its channels, as in timm's
/// [`adapt_input_conv`](https://github.com/huggingface/pytorch-image-models/blob/main/timm/models/_manipulate.py). Of
/// several networks in the file, the one that
/// [`Checkpoint::candidates`] lists first is taken.
///
/// # Errors
/// [`PretrainedError`] for any other difference of shape, when tensors other than those of head and attention are missing,
/// and when modules of the network have more tensors in the file. Nothing has been copied then.
pub fn load(
    params: &Params,
    checkpoint: &Checkpoint<'_>,
    stem: StemInit,
    roles: &Roles,
) -> Result<Loaded, PretrainedError> {
    let [head, attention, first] = ["head", "attention", "stem"].map(|name| role(name, roles));
    let network = Network { params, roles, stem, head: head?, attention: attention?, first: first? };
    let candidates = checkpoint.candidates(&Sought::new(params.names(), roles));
    let mut fitting = candidates.iter().map(|candidate| (candidate, network.plan(candidate)));
    let Some((candidate, plan)) = fitting.find(|(_, plan)| plan.is_ok()).or_else(|| {
        let first = candidates.first()?;
        Some((first, network.plan(first)))
    }) else {
        let source = Misfit::Nothing(checkpoint.tensors().len());
        return Err(PretrainedError::Other { seems: Seems::of(checkpoint), source });
    };
    let mut plan = plan.map_err(|error| error.seems(checkpoint))?;
    let equals =
        fitting.filter(|(other, plan)| plan.is_ok() && other.names().len() == candidate.names().len());
    plan.alternatives = equals.map(|(other, _)| FormatError::quote(other.prefix())).collect();
    network.copy(candidate, &plan)?;
    let loaded: HashSet<&str> = plan.loaded.iter().map(String::as_str).collect();
    plan.new = params.names().filter(|name| !loaded.contains(name)).map(Into::into).collect();
    Ok(plan)
}

impl PretrainedError {
    /// Names the network that the file seems to hold.
    fn seems(mut self, checkpoint: &Checkpoint<'_>) -> Self {
        if let Self::Shape { seems, .. } | Self::Other { seems, .. } = &mut self {
            *seems = Seems::of(checkpoint);
        }
        self
    }
}

/// Network that is to be initialised.
struct Network<'n> {
    params: &'n Params,
    roles: &'n Roles,
    stem: StemInit,
    head: GlobSet,
    attention: GlobSet,
    /// First layers, which see the image.
    first: GlobSet,
}

impl Network<'_> {
    /// Decides which tensors of a candidate are loaded; copies nothing.
    fn plan(&self, candidate: &Candidate<'_>) -> Result<Loaded, PretrainedError> {
        let mut plan = Loaded { prefix: FormatError::quote(candidate.prefix()), ..Loaded::default() };
        let mut unused: HashSet<&str> = HashSet::new();
        let twice: HashSet<&str> = candidate.twice().map(|(own, _)| own).collect();
        if let Some((own, [first, second])) = candidate.twice().find(|(own, _)| !self.head.is_match(own)) {
            let [first, second] = [first, second].map(FormatError::quote);
            return Err(PretrainedError::Twice { name: own.into(), first, second });
        }
        for own in candidate.names() {
            let Some(tensor) = candidate.get(own) else { continue };
            match self.fit(own, tensor) {
                // A head of several layers is none of this network.
                _ if twice.contains(own) => drop(unused.insert(&tensor.name)),
                Fit::Same => plan.loaded.push(own.into()),
                Fit::Rgb => {
                    plan.loaded.push(own.into());
                    plan.summed.push(own.into());
                }
                Fit::LargerKernel(_) if self.stem == StemInit::Centre => plan.adapted.push(own.into()),
                Fit::LargerKernel(_) | Fit::OtherClasses => drop(unused.insert(&tensor.name)),
                // Another layer that is called a head.
                Fit::Not(_) if self.head.is_match(own) && !self.is_spelled(own, tensor) => {
                    unused.insert(&tensor.name);
                }
                Fit::Not(expected) => {
                    let (name, found) =
                        (FormatError::quote(&tensor.name), tensor.shape().unwrap_or_default());
                    let (found, seems) = (found.to_vec(), Seems::default());
                    return Err(PretrainedError::Shape { name, expected, found, seems });
                }
            }
        }
        self.check(candidate).map_err(|source| PretrainedError::Other { seems: Seems::default(), source })?;
        unused.extend(candidate.unused().iter().map(|tensor| tensor.name.as_str()));
        let ignored = candidate.tensors().filter(|tensor| !tensor.is_counter());
        let ignored = ignored.map(|tensor| tensor.name.as_str()).filter(|name| unused.contains(name));
        plan.ignored = ignored.map(FormatError::quote).collect();
        Ok(plan)
    }

    /// Checks that the backbone is there as a whole, and nothing more inside its modules.
    fn check(&self, candidate: &Candidate<'_>) -> Result<(), Misfit> {
        let known = self.roles.get("stem").is_some() || self.roles.get("stages").is_some();
        let modules: HashSet<&str> = candidate.names().map(module).collect();
        // Without roles, a part of the network may be missing as a whole: it may be the head.
        let needed = |name: &&str| {
            !self.head.is_match(name)
                && !self.attention.is_match(name)
                && (known || modules.contains(module(name)))
        };
        if let Some(missing) = self.params.names().filter(needed).find(|name| candidate.get(name).is_none()) {
            let (found, all) = (candidate.names().len(), self.params.names().count());
            return Err(Misfit::Missing { missing: missing.into(), found, all });
        }
        let mut inside = candidate.inside();
        inside.retain(|tensor| {
            let rest = tensor.name.strip_prefix(candidate.prefix()).unwrap_or(&tensor.name);
            let own = format!("{}{rest}", self.roles.checkpoint_prefix());
            let optional = |name: &str| self.head.is_match(name) || self.attention.is_match(name);
            !optional(rest) && !optional(&own)
        });
        match inside[..] {
            [] => Ok(()),
            [first, ..] => {
                Err(Misfit::LeftOver { first: FormatError::quote(&first.name), tensors: inside.len() })
            }
        }
    }

    /// Tells whether the file has the network's own name for a tensor, with or without its prefix.
    fn is_spelled(&self, own: &str, tensor: &StoredTensor) -> bool {
        tensor.name.ends_with(own.strip_prefix(self.roles.checkpoint_prefix()).unwrap_or(own))
    }

    fn copy(&self, candidate: &Candidate<'_>, plan: &Loaded) -> Result<(), PretrainedError> {
        let wanted = plan.loaded.iter().chain(&plan.adapted).map(String::as_str);
        for (name, values) in candidate.weights(wanted)? {
            let cropped = match candidate.get(&name).map(|tensor| self.fit(&name, tensor)) {
                Some(Fit::LargerKernel(border)) => {
                    let (from, to) = (border as isize, -(border as isize));
                    values.slice(s![.., .., from..to, from..to]).to_owned().into_dyn()
                }
                _ => values,
            };
            let is_gray = self.params.get(&name).is_some_and(|own| own.size().get(1) == Some(&1));
            let values = match cropped.shape() {
                [_, RGB, _, _] if is_gray => cropped.sum_axis(Axis(1)).insert_axis(Axis(1)),
                _ => cropped,
            };
            self.params.assign(&name, &self.reshaped(&name, values))?;
        }
        Ok(())
    }

    /// Gives values of a 1x1 convolution the shape of a linear layer, if the network has one in its place.
    fn reshaped(&self, own: &str, values: ArrayD<f32>) -> ArrayD<f32> {
        let shape = self.shape(own);
        match same_values(values.shape(), &shape) {
            true => values.into_shape_with_order(shape).expect("the shapes differ in ones only"),
            false => values,
        }
    }

    /// Shape of the network's parameter `own`.
    fn shape(&self, own: &str) -> Vec<usize> {
        let size = self.params.get(own).map(|tensor| tensor.size()).unwrap_or_default();
        size.into_iter().map(|size| size as usize).collect()
    }

    fn fit(&self, own: &str, tensor: &StoredTensor) -> Fit {
        let expected = self.shape(own);
        // A tensor of a kind that cannot be read is refused by name when it is.
        let Some(found) = tensor.shape() else { return Fit::Same };
        let channels_fit =
            |found, expected| found == expected || (found, expected) == (RGB, 1) && self.first.is_match(own);
        fit(own, found, expected, &self.head, self.roles, channels_fit)
    }
}

/// Outermost module of a parameter.
fn module(name: &str) -> &str {
    name.split_once('.').map_or(name, |(module, _)| module)
}

/// Relation of a tensor of the file to the network's tensor of its name.
enum Fit {
    Same,
    /// The same kernels, for the three channels of RGB images where the network has one.
    Rgb,
    /// A larger kernel, by this many values on each side.
    LargerKernel(usize),
    OtherClasses,
    /// The network needs another shape.
    Not(Vec<usize>),
}

/// Channels of the images that published networks are trained on.
const RGB: usize = 3;

fn fit(
    own: &str,
    found: &[usize],
    expected: Vec<usize>,
    head: &GlobSet,
    roles: &Roles,
    channels_fit: impl Fn(usize, usize) -> bool,
) -> Fit {
    let cropped = |found: usize, expected: usize| {
        let declared = roles.cropped_kernel() == Some((own, found));
        (declared && found > expected && (found - expected).is_multiple_of(2)).then(|| (found - expected) / 2)
    };
    match (found, &expected[..]) {
        (found, expected) if same_values(found, expected) => Fit::Same,
        ([filters, channels, height, width], [f, c, h, w])
            if filters == f && channels_fit(*channels, *c) && height == width && h == w =>
        {
            if height == h {
                return Fit::Rgb;
            }
            cropped(*height, *h).map_or(Fit::Not(expected), Fit::LargerKernel)
        }
        ([_, found @ ..], [_, inner @ ..]) if head.is_match(own) && found == inner => Fit::OtherClasses,
        _ => Fit::Not(expected),
    }
}

#[cfg(test)]
mod tests;
