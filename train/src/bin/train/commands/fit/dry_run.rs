//! `train fit --dry-run`: what is in a data set, and what would be trained on it.

use anyhow::Result;
use ferronnx_infer::escape;
use ferronnx_infer::files::LeftOut;
use ferronnx_models::Module;
use ferronnx_models::networks::{Architecture, Classifier};
use ferronnx_models::shapes::{self, Description};
use ferronnx_report::text;
use ferronnx_train::data::folder::ImageFolder;
use ferronnx_train::data::survey::{ClassCount, Sizes, Survey};
use ferronnx_train::data::{Sample, Source};
use ferronnx_train::run::{MemoryEstimate, RunConfig, Split, Splits};
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use crate::args::{DryRunFormat, FitArgs, SetupArgs};
use crate::{Unreadable, display, findings};

/// Number of classes in the table: the largest and the smallest.
const CLASSES: usize = 40;

/// Number of unreadable images named in the text.
const NAMED: usize = 5;

/// Prints the findings about a data set and the run that would be trained on it.
///
/// # Errors
/// Those of the run itself, for settings that do not fit the data or the network. [`Unreadable`] after the findings, when
/// images cannot be decoded and are not to be left out.
pub fn run(args: &FitArgs, data: ImageFolder, config: &RunConfig, network: &Classifier) -> Result<()> {
    config.check()?;
    let (notes, left_out) = (data.notes.clone(), data.left_out.clone());
    let splits = Splits::new(data, config)?;
    let parts: Vec<(Split, &[Sample])> = [
        (Split::Train, &splits.train[..]),
        (Split::Validation, &splits.validation),
        (Split::Test, splits.test.as_deref().unwrap_or_default()),
    ]
    .into();
    let counts: Vec<usize> = parts.iter().map(|(_, samples)| samples.len()).collect();
    let bar = display::bar("looking at images", counts.iter().sum());
    let survey = Survey::of(&splits.source, &parts, &config.labels, || bar.inc(1))?;
    bar.finish_and_clear();
    let crop = config.preprocessing.crop;
    let channels = config.preprocessing.color.channels();
    let described = shapes::describe(network, &[1, channels, crop.height as usize, crop.width as usize])?;
    let names: Vec<&str> = described.params.iter().map(|param| param.name.as_str()).collect();
    config.recipe.check_names(&names, &network.roles())?;
    let findings = Findings {
        data: config.data.display().to_string(),
        parts: Parts { train: counts[0], validation: counts[1], test: counts[2] },
        warnings: warnings(&survey),
        notes: [&notes[..], &self::notes(&survey, config)].concat(),
        left_out: &left_out,
        network: Network::new(config, &described),
        recipe: Recipe::new(config),
        memory: MemoryEstimate::new(config, &described, &splits.source, &counts),
        survey: &survey,
    };
    match args.format {
        DryRunFormat::Text => findings.print(args),
        DryRunFormat::Json => say!("{}", serde_json::to_string_pretty(&findings)?),
    }
    if survey.unreadable.is_empty() || config.skip_bad { Ok(()) } else { Err(Unreadable.into()) }
}

/// Findings as they are in JSON.
#[derive(Serialize)]
struct Findings<'a> {
    data: String,
    parts: Parts,
    #[serde(flatten)]
    survey: &'a Survey,
    left_out: &'a LeftOut,
    warnings: Vec<String>,
    notes: Vec<String>,
    network: Network,
    recipe: Recipe,
    memory: MemoryEstimate,
}

/// Number of images of each part.
#[derive(Serialize)]
struct Parts {
    train: usize,
    validation: usize,
    test: usize,
}

/// Network that would be trained.
#[derive(Serialize)]
struct Network {
    name: String,
    image_size: u32,
    channels: usize,
    parameters: usize,
}

impl Network {
    fn new(config: &RunConfig, described: &Description) -> Self {
        let architecture: Option<Architecture> = serde_json::from_value(config.architecture.clone()).ok();
        Self {
            name: architecture.map(|architecture| architecture.to_string()).unwrap_or_default(),
            image_size: config.preprocessing.crop.height,
            channels: config.preprocessing.color.channels(),
            parameters: described.layers.iter().map(|layer| layer.parameters).sum(),
        }
    }
}

/// Recipe that would be used.
#[derive(Serialize)]
struct Recipe {
    name: String,
    epochs: usize,
    batch_size: usize,
}

impl Recipe {
    fn new(config: &RunConfig) -> Self {
        let recipe = &config.recipe;
        Self { name: recipe.name.clone(), epochs: recipe.epochs(), batch_size: recipe.batch_size }
    }
}

fn warnings(survey: &Survey) -> Vec<String> {
    let mut warnings = findings::leaks(&survey.duplicates);
    warnings.extend(findings::contradictions(&survey.duplicates));
    warnings.extend(findings::dark(survey, survey.images));
    warnings
}

fn notes(survey: &Survey, config: &RunConfig) -> Vec<String> {
    let channels = config.preprocessing.color.channels();
    let notes = [
        findings::repeated(&survey.duplicates),
        findings::colourless(survey, channels),
        findings::idle(&config.recipe.augment, channels),
    ];
    notes.into_iter().flatten().collect()
}

impl Findings<'_> {
    fn print(&self, args: &FitArgs) {
        say!("{}\n\n{}", classes(&self.survey.classes), text::fields(&self.fields()));
        for bad in self.survey.unreadable.iter().take(NAMED) {
            say!("unreadable: {}: {}", escape::path(&bad.path), bad.reason);
        }
        match self.survey.unreadable.len().saturating_sub(NAMED) {
            0 => {}
            more => say!("and {more} more; --format json names all"),
        }
        self.warnings.iter().for_each(|warning| say!("{}", display::wrapped(&format!("warning: {warning}"))));
        self.notes.iter().for_each(|note| say!("{}", display::wrapped(&format!("note: {note}"))));
        if !self.survey.unreadable.is_empty() && !args.setup.skip_bad {
            say!("next: remove or repair the unreadable images, or leave them out with --skip-bad");
        }
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        let Self { parts, survey, network, recipe, memory, .. } = self;
        let images = format!("{} train, {} validation, {} test", parts.train, parts.validation, parts.test);
        let imbalance = match survey.imbalance {
            Some(ratio) => format!("{ratio:.1} to 1, the largest training class to the smallest"),
            None => "a class has no training images".into(),
        };
        let mut fields = vec![("data", self.data.clone()), ("images", images), ("imbalance", imbalance)];
        fields.extend(survey.sizes.map(|sizes| ("sizes", in_words(&sizes))));
        fields.push(("formats", counted(survey.formats.iter().map(|(name, count)| (*name, *count)))));
        fields.push(("pixels", counted(survey.pixels.iter().map(|(name, count)| (&**name, *count)))));
        let copies = survey.duplicates.groups.len();
        fields.push(("duplicates", number(copies, "times equal pixels in several images")));
        fields.push(("unreadable", number(survey.unreadable.len(), "of the images")));
        if !self.left_out.is_empty() {
            fields.push(("left out", self.left_out.to_string()));
        }
        let (size, parameters) = (network.image_size, HumanCount(network.parameters as u64));
        fields.push(("network", format!("{} at {size}x{size}, {parameters} parameters", network.name)));
        let Recipe { name, epochs, batch_size } = recipe;
        fields.push(("recipe", format!("{name}, {epochs} epochs, batch {batch_size}")));
        let MemoryEstimate { images, window, network, batch, total, .. } = memory;
        let [total, images, window, network, batch] =
            [total, images, window, network, batch].map(|&bytes| HumanBytes(bytes));
        let window = if memory.window > 0 {
            format!("shuffle window and reading ahead {window}, ")
        } else {
            String::new()
        };
        fields.push((
            "memory",
            format!("about {total}: images {images}, {window}network {network}, layers for a batch {batch}"),
        ));
        fields
    }
}

/// Table of the classes by their training images; of many, the largest and the smallest.
fn classes(classes: &[ClassCount]) -> String {
    let mut sorted: Vec<&ClassCount> = classes.iter().collect();
    sorted.sort_by_key(|class| std::cmp::Reverse(class.train));
    let left_out = sorted.len().saturating_sub(CLASSES);
    if left_out > 0 {
        sorted.drain(CLASSES / 2..CLASSES / 2 + left_out);
    }
    let row = |class: &&ClassCount| {
        let count = |count: usize| HumanCount(count as u64).to_string();
        [
            escape::name(&class.name).into_owned(),
            count(class.train),
            count(class.validation),
            count(class.test),
        ]
    };
    let table = display::table(["class", "train", "validation", "test"], sorted.iter().map(row));
    match left_out {
        0 => table,
        more => format!(
            "{table}\n{more} classes between the largest and the smallest {} are left out",
            CLASSES / 2
        ),
    }
}

fn in_words(sizes: &Sizes) -> String {
    let size = |[width, height]: [u32; 2]| format!("{width}x{height}");
    match sizes.different {
        1 => format!("all {}", size(sizes.smallest)),
        different => format!(
            "{} to {} (width x height), median {}, {} different ones",
            size(sizes.smallest),
            size(sizes.largest),
            size(sizes.median),
            HumanCount(different as u64)
        ),
    }
}

/// Number of things, or `none`.
fn number(count: usize, of: &str) -> String {
    if count == 0 { "none".into() } else { format!("{} {of}", HumanCount(count as u64)) }
}

fn counted<'n>(counts: impl Iterator<Item = (&'n str, usize)>) -> String {
    let mut counts: Vec<_> = counts.collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let counts = counts.iter().map(|(name, count)| format!("{} {name}", HumanCount(*count as u64)));
    counts.collect::<Vec<_>>().join(", ")
}

/// Number of images that a run looks at before it starts.
const GLANCE: usize = 16;

/// Looks at a few training images, spread over all, and says what a network would not learn from. In shards they are the
/// first ones, because shards are read from their beginnings.
///
/// # Errors
/// Those of shards; images that cannot be decoded are no error here.
pub fn glance(data: &ImageFolder, config: &RunConfig) -> Result<()> {
    let channels = config.preprocessing.color.channels();
    let step = match &data.source {
        Source::Files => data.train.len().div_ceil(GLANCE).max(1),
        Source::Shards(_) => 1,
    };
    let few: Vec<Sample> = data.train.iter().step_by(step).take(GLANCE).cloned().collect();
    let survey = Survey::of(&data.source, &[(Split::Train, &few)], &data.classes, || ())?;
    if let Some(warning) = findings::dark(&survey, data.train.len()) {
        display::print_error(display::wrapped(&format!("warning: {warning}")));
    }
    let notes = [findings::colourless(&survey, channels), findings::idle(&config.recipe.augment, channels)];
    notes.into_iter().flatten().for_each(|note| say!("{}", display::wrapped(&format!("note: {note}"))));
    Ok(())
}

/// Checks that a local file of pretrained weights exists; nothing is downloaded.
pub fn check_pretrained(setup: &SetupArgs) -> Result<()> {
    if !matches!(&*setup.pretrained, "none" | "imagenet") {
        super::settings::pretrained(&setup.pretrained, setup.network.network)?;
    }
    Ok(())
}
