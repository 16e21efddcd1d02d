//! Shows which faults of an exported file its logits reveal, in full and in TF32 arithmetic.
//!
//! The digests of the faulty files are rewritten, so that nothing but the logits can tell. Usage:
//! `faulty_models MODEL OUT` writes OUT/{scale,labels,mean,8bits}.onnx, and
//! `faulty_models MODEL cpu|cuda` verifies them in this process and searches for the smallest change that is found. On the
//! CPU, TF32 is simulated. MODEL is a file of `train export` in fp32 with float input. `ORT_DYLIB_PATH` is set, or the
//! root folder of the workspace is the current one.

use std::collections::HashMap;
use std::path::Path;
use std::{env, fs};

use anyhow::{Context, Result, bail};
use ferronnx_infer::session::Options;
use ferronnx_infer::verify::Verification;
use ferronnx_infer::{Device, Session};
use ferronnx_models::onnx::{self, Model};
use ferronnx_models::testing::faults::{Fault, convolutions, faulty};
use ferronnx_models::testing::tf32;
use ferronnx_models::tolerance::{Arithmetic, Tolerance};

/// Changes of a scale that the search looks at: from 1e-6 in steps of a sixth to 0.3.
const SMALLEST: f64 = 1e-6;
const RATIO: f64 = 7.0 / 6.0;
const STEPS: u32 = 82;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [model, target] = &arguments[..] else { bail!("usage: faulty_models MODEL OUT|cpu|cuda") };
    let file = fs::read(model).with_context(|| model.clone())?;
    match target.parse::<Device>() {
        Ok(device) => table(&file, device),
        Err(_) => write(&file, Path::new(target)),
    }
}

/// The four faults, each with the name of its file: in a convolution in the middle of the backbone.
fn faults(file: &[u8]) -> Result<[(&'static str, Fault); 4]> {
    let backbone = backbone(file)?;
    let convolution = backbone[backbone.len() / 2];
    Ok([
        ("scale", Fault::Scale { convolution, channel: 0, factor: 1.05 }),
        ("labels", Fault::Labels(0, 1)),
        ("mean", Fault::Mean(2.0)),
        ("8bits", Fault::EightBits { convolution }),
    ])
}

/// Positions of the convolutions outside attention.
fn backbone(file: &[u8]) -> Result<Vec<usize>> {
    let names = convolutions(&Model::from_slice(file)?);
    let found = names.iter().enumerate().filter(|(_, name)| !name.contains("attn")).map(|(at, _)| at);
    let found: Vec<usize> = found.collect();
    if found.is_empty() {
        bail!("the model has no convolutions")
    }
    Ok(found)
}

fn write(file: &[u8], out: &Path) -> Result<()> {
    fs::create_dir_all(out)?;
    for (name, fault) in faults(file)? {
        fs::write(out.join(format!("{name}.onnx")), faulty(file, fault)?)?;
    }
    Ok(())
}

/// Verifies `file` on `device` in `arithmetic`.
fn verified(file: &[u8], device: Device, arithmetic: Arithmetic) -> Result<Verification> {
    let mut options = Options::default().device(device);
    options.cuda.tf32 = arithmetic == Arithmetic::Tf32;
    if device != Device::Cpu || arithmetic == Arithmetic::Full {
        return Ok(Verification::of_bytes(file, &options, None)?);
    }
    let mut model = Model::from_slice(file)?;
    tf32::simulate(&mut model)?;
    let session = Session::from_bytes(&onnx::encode(model, &[]), &options)?;
    Ok(Verification::in_arithmetic(file, &session, arithmetic, None)?)
}

/// True if the logits of the device alone show a fault.
fn by_device(found: &Verification) -> bool {
    !found.agreement.holds(Tolerance::new(found.tolerance, found.rms_tolerance))
}

fn table(file: &[u8], device: Device) -> Result<()> {
    println!(
        "| file | arithmetic | largest | allowed | rms | allowed | certificate | the device's logits alone |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut files = vec![("correct", file.to_vec())];
    for (name, fault) in faults(file)? {
        files.push((name, faulty(file, fault)?));
    }
    for (name, file) in &files {
        for arithmetic in [Arithmetic::Full, Arithmetic::Tf32] {
            let found = verified(file, device, arithmetic)?;
            println!(
                "| {name} | {arithmetic} | {:.1e} | {:.0e} | {:.1e} | {:.0e} | {} | {} |",
                found.agreement.max_relative_difference,
                found.tolerance,
                found.agreement.rms_relative_difference,
                found.rms_tolerance,
                if found.holds() { "holds" } else { "does not hold" },
                if by_device(&found) { "differ" } else { "within the tolerance" },
            );
        }
    }
    println!(
        "\n| scale of one channel of | arithmetic | smallest change found | by the device's logits alone |"
    );
    println!("|---|---|---|---|");
    let (backbone, names) = (backbone(file)?, convolutions(&Model::from_slice(file)?));
    for convolution in [backbone[0], backbone[backbone.len() - 1]] {
        for arithmetic in [Arithmetic::Full, Arithmetic::Tf32] {
            let [all, alone] = smallest(file, device, arithmetic, convolution)?;
            println!("| {} | {arithmetic} | {all} | {alone} |", names[convolution]);
        }
    }
    Ok(())
}

/// Bisects for the smallest change of the first channel's scale that the whole verification finds, and the smallest that the
/// device's logits show.
fn smallest(file: &[u8], device: Device, arithmetic: Arithmetic, convolution: usize) -> Result<[String; 2]> {
    let change = |step: u32| SMALLEST * RATIO.powi(step as i32);
    let mut known: HashMap<u32, [bool; 2]> = HashMap::new();
    let mut finds = |step: u32, which: usize| -> Result<bool> {
        if let Some(found) = known.get(&step) {
            return Ok(found[which]);
        }
        let fault = Fault::Scale { convolution, channel: 0, factor: (1.0 + change(step)) as f32 };
        let found = verified(&faulty(file, fault)?, device, arithmetic)?;
        let found = [!found.holds(), by_device(&found)];
        known.insert(step, found);
        Ok(found[which])
    };
    let mut search = |which| -> Result<String> {
        let (mut below, mut above) = (0, STEPS);
        if !finds(above, which)? {
            return Ok(format!("none up to {:.2}", change(above)));
        }
        while above - below > 1 {
            let middle = u32::midpoint(below, above);
            if finds(middle, which)? { above = middle } else { below = middle }
        }
        Ok(format!("{:.1e}", change(above)))
    };
    Ok([search(0)?, search(1)?])
}
