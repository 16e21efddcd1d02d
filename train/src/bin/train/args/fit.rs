//! Flags of `train fit`.

use std::path::PathBuf;

use clap::ValueEnum;

use super::DistributedArgs;
use super::positive;
use super::setup::SetupArgs;

/// Flags of `train fit`.
#[derive(Debug, clap::Args)]
#[command(
    args_override_self = true,
    after_help = "\
Examples:
  train fit --data photos
  train fit --data photos --dry-run                                 look at the data first
  train fit --data photos --epochs 10 --out runs/ten
  train fit --data photos --pretrained imagenet --image-size 224
  train fit --data cifar10 --pretrained resnet18.pth --recipe differential
  train fit --data photos --recipe my.toml --limit 200 --epochs 1   try a recipe
  train fit --data photos --learning-rate 3e-3                      as `train find-lr` suggests
  train fit --data 'shards/train-{000..009}.tar'                    WebDataset shards, streamed if they are large
  train fit --data photos --mlflow http://localhost:5000            track the run with MLflow
  train fit --resume runs/ten                                       resume a run
  torchrun --no-python --nproc-per-node 4 train fit --data photos --out runs/four

DATA is DIR/CLASS/*.jpg, or DIR/train/CLASS/*.jpg with DIR/test (and DIR/val), or LIST.csv with `path,label[,split]`, or
WebDataset shards ('train-{000..099}.tar', or their folder), or parquet files and s3://, gs://, az:// and https:// addresses
(in a program built with the feature `cloud`), or cifar10 (downloaded once), or cifar10:PATH of its binary archive. Ctrl-C saves the run and stops it; a second Ctrl-C stops it at once."
)]
pub struct FitArgs {
    /// Folder of class folders, list of images, tar or parquet shards, URL, cifar10, or cifar10:PATH
    #[arg(long, value_name = "DIR|LIST.csv|SHARDS|URL|cifar10[:PATH]", required_unless_present = "resume")]
    pub data: Option<PathBuf>,
    /// Resume a run exactly where it stopped
    #[arg(long, value_name = "RUN", conflicts_with_all = [
        "data", "recipe", "pretrained", "pretrained_key", "stem_init", "freeze_stem", "out", "epochs", "batch_size", "early_stopping",
        "image_size", "channels", "learning_rate", "network", "stem", "attention", "attention_at", "attention_ratio", "attention_kernel", "seed", "limit", "amp",
        "multi_label", "loss", "class_weights", "sampling", "mirrored_test", "deterministic", "sync_bn", "shuffle_window",
    ])]
    pub resume: Option<PathBuf>,
    /// Run folder [default: runs/DATA-TIME]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Learning rate of the recipe's first phase; all other rates keep their ratio to it [default: the recipe's]
    #[arg(long, value_name = "X", value_parser = positive, allow_negative_numbers = true)]
    pub learning_rate: Option<f64>,
    /// Send parameters, metrics and the report to an MLflow server [default: $MLFLOW_TRACKING_URI, with
    /// $MLFLOW_TRACKING_USERNAME and $MLFLOW_TRACKING_PASSWORD, or $MLFLOW_TRACKING_TOKEN]
    #[arg(long, value_name = "URL")]
    pub mlflow: Option<String>,
    /// Experiment on the MLflow server [default: $MLFLOW_EXPERIMENT_NAME, else Default]
    #[arg(long, value_name = "NAME")]
    pub mlflow_experiment: Option<String>,
    /// Take mean and variance of batch norm from the images of all ranks in every step, instead of each rank's own
    #[arg(long)]
    pub sync_bn: bool,
    /// Train nothing; say what is in the data: classes, sizes, duplicates, unreadable images
    #[arg(long, conflicts_with = "resume")]
    pub dry_run: bool,
    /// Output format of --dry-run
    #[arg(long, value_enum, default_value = "text", requires = "dry_run")]
    pub format: DryRunFormat,
    /// Processes that train together.
    #[command(flatten)]
    pub distributed: DistributedArgs,
    /// Settings of the run.
    #[command(flatten)]
    pub setup: SetupArgs,
}

/// Values of `--format` of `train fit --dry-run`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DryRunFormat {
    /// Tables and sentences
    Text,
    /// One JSON object
    Json,
}
