//! Ranks of a training: how they meet, and how their failures reach people.
//!
//! The first rank has the terminal. The others keep a log in the run folder.

mod log;

use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use ferronnx_train::data::folder::ImageFolder;
use ferronnx_train::device::{CudaLibrary, DeviceRequest, libtorch_version};
use ferronnx_train::distributed::{DistributedError, Failure, Group, Launch, Request};
use ferronnx_train::error::chain;
use ferronnx_train::run::RunConfig;
use sha2::{Digest, Sha256};

pub use self::log::RankLog;
use crate::args::FitArgs;
use crate::{FAILED, Interrupted, commands, display, hints};

/// Longest time in which a rank notices in its next collective that another one failed; then it is ended.
const GRACE: Duration = Duration::from_secs(15);

/// Error that stands for one that some rank has reported, or will.
#[derive(Debug, thiserror::Error)]
#[error("a rank failed")]
pub struct Reported;

/// Ranks that train together, as this one sees them.
pub struct Ranks {
    /// The group.
    pub group: Arc<Group>,
    /// Log of this rank, unless it is the first.
    pub log: RankLog,
    /// True if the launcher started the group again, after a failure.
    pub restarted: bool,
}

/// Runs `train fit`, as one rank of many if a launcher says so.
pub fn run(args: &FitArgs) -> Result<()> {
    let launch = match args.dry_run {
        true => None,
        false => Launch::find(args.distributed.distributed.into(), |name| std::env::var(name).ok())?,
    };
    let Some(launch) = launch else { return commands::fit::run(args, None) };
    let ranks = join(args, &launch)?;
    let watcher = end_late(&ranks);
    let result = panic::catch_unwind(AssertUnwindSafe(|| commands::fit::run(args, Some(&ranks))));
    let result = match result {
        Ok(Err(error)) if !error.is::<Interrupted>() => Err(ranks.report(&error)),
        Ok(result) => result,
        Err(panic) => {
            ranks.group.fail("an internal error, see its output");
            drop(ranks);
            panic::resume_unwind(panic)
        }
    };
    drop(ranks);
    drop(watcher);
    result
}

/// Checks that no launcher started several processes, for a command that only one can run.
pub fn refuse_several(command: &str) -> Result<()> {
    let cause = match Launch::find(Request::Auto, |name| std::env::var(name).ok()) {
        Ok(Some(Launch { world, by, .. })) if world.size > 1 => {
            format!("{by} started {} of them", world.size)
        }
        Ok(_) => return Ok(()),
        Err(error) => error.to_string(),
    };
    bail!("{command} runs in one process, alone: {cause}")
}

fn join(args: &FitArgs, launch: &Launch) -> Result<Ranks> {
    let Launch { world, address, port, by, .. } = launch;
    if world.is_first() {
        let seconds = args.distributed.join_timeout;
        say!("ranks       {} by {by}, which meet at {address}:{port} within {seconds} s", world.size);
    } else {
        display::mute();
    }
    // libtorch looks for CUDA once, and the group asks it for tensors. The device of a run that is resumed is not known yet.
    CudaLibrary::open(args.setup.device.unwrap_or_default());
    let group = Group::join(launch, args.distributed.timeout())?;
    let log = RankLog::new(&group);
    let ranks = Ranks { restarted: group.any(launch.restart > 0)?, group: Arc::new(group), log };
    let version = format!("{} for {}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    let versions = [("versions of this program", version), ("versions of libtorch", libtorch_version())];
    for (subject, version) in versions {
        ranks.group.agree(subject, &version).map_err(|error| ranks.report(&error.into()))?;
    }
    Ok(ranks)
}

impl Ranks {
    /// True for the first rank.
    pub fn is_first(&self) -> bool {
        self.group.world().is_first()
    }

    /// Flag of the first rank.
    pub fn any_of_first(&self, flag: bool) -> Result<bool> {
        Ok(self.group.any(flag && self.is_first())?)
    }

    /// Path that the first rank chose.
    pub fn path_of_first(&self, path: &Path) -> Result<PathBuf> {
        let chosen = self.group.of_first(path.to_string_lossy().as_bytes())?;
        Ok(String::from_utf8_lossy(&chosen).into_owned().into())
    }

    /// Checks that all ranks have the same settings, and list the same images.
    pub fn agree_on(&self, config: &RunConfig, data: &ImageFolder) -> Result<()> {
        // The settings name the classes, so that other data would change them too.
        self.group.agree("data sets", &listing(data))?;
        // Each rank has a device of its own, and may have the data at a place of its own.
        let config = RunConfig { device: DeviceRequest::Cpu, data: PathBuf::new(), ..config.clone() };
        Ok(self.group.agree("settings", &digest(toml::to_string(&config)?.as_bytes()))?)
    }

    /// Tells the other ranks of an error, and people: on the terminal by the first rank, in the log by the others.
    fn report(&self, error: &anyhow::Error) -> anyhow::Error {
        let group = &self.group;
        let shared = error.chain().filter_map(|error| error.downcast_ref::<DistributedError>());
        match shared.filter(|error| error.is_shared()).last() {
            Some(DistributedError::Failed(failure)) => say_failure(failure, group, &self.log),
            Some(error) if group.world().is_first() => display::print_error(format_args!("error: {error}")),
            Some(error) => self.log.line(&format!("error: {error}")),
            None => {
                group.fail(format!("{}{}", chain(error.as_ref()), hints::hint(error)));
                if let Some(failure) = group.failure() {
                    say_failure(failure, group, &self.log);
                }
            }
        }
        Reported.into()
    }
}

/// Prints a failure in the rank that is to report it, and logs it in all others.
fn say_failure(failure: &Failure, group: &Group, log: &RankLog) {
    let world = group.world();
    let message = match world.size {
        1 => format!("error: {}", failure.cause),
        _ => format!("error: {failure}"),
    };
    if world.rank == failure.reporter() {
        display::print_error(&message);
    }
    log.line(&message);
}

/// Ends this process some time after another rank failed, if it is busy and takes part in no collective.
fn end_late(ranks: &Ranks) -> thread::JoinHandle<()> {
    let (group, log) = (Arc::downgrade(&ranks.group), ranks.log.clone());
    thread::spawn(move || {
        let find = |group: Weak<Group>| group.upgrade()?.failure().cloned();
        let failure = loop {
            thread::sleep(Duration::from_millis(500));
            match find(group.clone()) {
                Some(failure) => break failure,
                None if group.strong_count() == 0 => return,
                None => {}
            }
        };
        thread::sleep(GRACE);
        if let Some(group) = group.upgrade() {
            say_failure(&failure, &group, &log);
            process::exit(FAILED.into());
        }
    })
}

/// Description of a data set: its counts, and a digest of the images' names, sizes and classes.
fn listing(data: &ImageFolder) -> String {
    let mut lines = data.classes.join("\n");
    let parts = [Some(&data.train), data.validation.as_ref(), data.test.as_ref()];
    for (part, samples) in parts.into_iter().enumerate() {
        for sample in samples.into_iter().flatten() {
            let path = sample.path.strip_prefix(&data.root).unwrap_or(&sample.path);
            let bytes = data.source.bytes(&sample.path).unwrap_or_default();
            lines.push_str(&format!("\n{part} {} {bytes} {:?}", path.display(), sample.labels));
        }
    }
    let images: usize = parts.into_iter().flatten().map(Vec::len).sum();
    format!("{images} images of {} classes (digest {})", data.classes.len(), digest(lines.as_bytes()))
}

/// First 48 bits of SHA-256, in hexadecimal digits.
fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}
