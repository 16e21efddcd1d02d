//! Arguments of `infer triton-repo`.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Args;
use ferronnx_infer::model_spec::ModelSpec;

/// Examples and notes below the help.
pub(super) const HELP: &str = "\
Examples:
  infer triton-repo photos.onnx --out models
  infer triton-repo photos:1=old.onnx photos:2=new.onnx birds=birds.onnx --out models
  tritonserver --model-repository=models

Triton runs the network and nothing else: its clients decode, resize and normalise images, and make probabilities of the \
scores. `train export --input uint8` writes a file that normalises images itself. A model's folder is replaced as a whole, \
so name all of its versions. A certificate that does not hold is an error.";

/// Arguments of `infer triton-repo`.
#[derive(Debug, Args)]
pub struct TritonRepoArgs {
    /// Model files, with names and versions if they are not to be those of the files, and 1
    #[arg(value_name = "[NAME[:VERSION]=]MODEL", required = true)]
    pub models: Vec<ModelSpec>,

    /// Folder of the repository; created if it does not exist
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,

    /// Largest batch that Triton makes
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(NonZeroU32))]
    pub max_batch: NonZeroU32,

    /// Replace folders of models that this command did not write, or that hold other versions
    #[arg(long)]
    pub force: bool,

    /// ONNX Runtime's library or its folder [default: $ORT_DYLIB_PATH, beside the program, ../lib, in a checkout .native/]
    #[arg(long, value_name = "PATH")]
    pub ort_lib: Option<PathBuf>,
}
