//! Command `infer serve`: answers requests for classification.

mod signals;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use ferronnx_infer::device::short_name;
use ferronnx_infer::serve::{LoadError, ServedModel, Server};
use ferronnx_infer::{Error, ErrorKind};

use crate::args::ServeArgs;
use crate::exit::Done;
use crate::logs::Log;
use crate::messages;

/// Pause between two looks at the files of the models.
const LOOK: Duration = Duration::from_secs(1);

/// Serves until a signal ends it.
pub fn run(args: &ServeArgs) -> Result<Done> {
    messages::panics_end_one_request();
    let log = Log::start(args.log, args.log_level).context("cannot start the log")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("cannot start the threads of the server")?;
    let done = runtime.block_on(serve(args, &log));
    // A file that cannot be read to its end, on a network drive say, does not hold up the exit.
    runtime.shutdown_timeout(Duration::from_millis(100));
    done
}

async fn serve(args: &ServeArgs, log: &Log) -> Result<Done> {
    let start = Instant::now();
    let (mut end, mut hang_up) = signals::all().context("cannot wait for signals")?;
    let server = Server::bind(args.options()?).await?;
    tokio::select! {
        loaded = server.load() => loaded.map_err(|error| explained(args, error))?,
        () = end.wait() => return Ok(Done::All),
    }
    introduce(args, log, &server, start.elapsed());
    tokio::select! {
        () = end.wait() => {}
        () = server.watch(LOOK) => {}
        () = reload(&server, &mut hang_up) => {}
    }
    log.note("stopping: what was accepted is answered");
    match server.stop(Duration::from_secs_f64(args.drain)).await {
        0 => Ok(Done::All),
        left => {
            log.error(format_args!("{left} images were not answered within --drain {} s", args.drain));
            Ok(Done::Some)
        }
    }
}

/// Loads the models again at each SIGHUP.
async fn reload(server: &Server, hang_up: &mut signals::HangUp) {
    loop {
        hang_up.wait().await;
        server.reload().await;
    }
}

/// Adds the flag that helps.
fn explained(args: &ServeArgs, error: LoadError) -> anyhow::Error {
    let is_default = args.models.is_empty() && args.model.files.chosen_model().is_none();
    match error {
        LoadError::Model(error) if is_default && is_missing(&error) => anyhow!(
            "no model: there is no ./model.onnx: name one, `infer serve FILE`, or set INFER_MODEL; `train export` makes one"
        ),
        LoadError::Model(error) => anyhow!(messages::words(&error)),
        LoadError::Uncertified(_) => {
            anyhow!("{error}: serve it with --allow-uncertified if you know that it is right")
        }
        LoadError::DoesNotHold { .. } => anyhow!("{error}: it is not served; `infer verify` tells more"),
        other => other.into(),
    }
}

fn is_missing(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound)
}

/// Says what is served, where, and how to try it.
fn introduce(args: &ServeArgs, log: &Log, server: &Server, took: Duration) {
    let models = server.models();
    for model in &models {
        if let Some(warning) = &model.warning {
            log.warn(warning);
        }
        for line in messages::assumptions(&model.assumed) {
            log.note(line);
        }
        log.note(described(model));
    }
    let url = server.url();
    if !server.address().ip().is_loopback() && args.api_key_file.is_none() {
        log.warn("everyone on the network may use this server: --api-key-file asks for a key");
    }
    let choice = if models.len() > 1 { format!("?model={}", models[0].name) } else { String::new() };
    let took = took.as_secs_f64();
    log.note(format_args!("listening on {url} (ready in {took:.2} s)"));
    log.note(format_args!("  curl --data-binary @photo.jpg '{url}/v1/classify{choice}'"));
    log.note(format_args!("  {url}/ in a browser"));
}

fn described(model: &ServedModel) -> String {
    let ServedModel { name, version, classes, size, provider, certified, .. } = model;
    let certificate = if *certified { "certificate holds" } else { "no certificate" };
    let device = short_name(provider);
    format!(
        "{name}:{version}: {classes} classes, {}x{} pixels, on {device}, {certificate}",
        size.width, size.height
    )
}
