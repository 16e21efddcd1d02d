//! A folder with everything that the documentation's commands name: images, lists, a run and its model.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::demo::digits;
use crate::workspace;

/// Classes of `photos`, in the place of the digits 0 to 3.
const CLASSES: [&str; 4] = ["airplane", "cat", "dog", "frog"];
/// Images of a class in `photos/train` and `photos/test`.
const IMAGES: [(&str, usize); 2] = [("train", 12), ("test", 4)];
/// Single images that commands name.
const SINGLE: [&str; 6] = ["photo.jpg", "photo.png", "cat.jpg", "dog.jpg", "a.jpg", "b.png"];
/// Names under which commands know the model.
const MODELS: [&str; 8] = ["photos", "cats", "dogs", "new", "old", "best", "in", "cal"];

/// Programs of this repository, built by its tests.
pub struct Programs {
    /// Folder of `infer`, `train` and `xtask`.
    pub folder: PathBuf,
}

impl Programs {
    /// Programs beside the one that runs.
    ///
    /// # Errors
    /// When one of them is not there.
    pub fn find() -> Result<Self> {
        let exe = std::env::current_exe().context("cannot find this program's folder")?;
        let folder = exe.parent().unwrap_or(Path::new("")).to_owned();
        for name in ["infer", "train", "examples/own_network"] {
            if !folder.join(name).exists() {
                let build = "cargo build --workspace --all-targets";
                bail!(
                    "{}: not found: `{build}` builds it, or `cargo xtask test`",
                    folder.join(name).display()
                );
            }
        }
        Ok(Self { folder })
    }
}

/// Makes the folder anew and returns it.
///
/// # Errors
/// When the digits cannot be brought, a file cannot be written, or training or export fails.
pub fn make(programs: &Programs) -> Result<PathBuf> {
    let demo = workspace::root().join("demo");
    digits::bring(&demo)?;
    let folder = workspace::root().join("target/book-commands");
    if folder.exists() {
        fs::remove_dir_all(&folder).context("cannot remove target/book-commands")?;
    }
    fill(&folder, &demo.join("data")).context("cannot fill target/book-commands")?;
    trained(&folder, programs)?;
    Ok(folder)
}

fn fill(folder: &Path, digits: &Path) -> Result<()> {
    let mut rows = String::from("path,label\n");
    let mut several = String::from("path,label,split\n");
    for (part, count) in IMAGES {
        for (digit, class) in CLASSES.iter().enumerate() {
            let into = folder.join("photos").join(part).join(class);
            fs::create_dir_all(&into)?;
            let images = sorted(&digits.join(part).join(digit.to_string()))?;
            for (index, image) in images.iter().take(count).enumerate() {
                // The format is known from the content.
                fs::copy(image, into.join(format!("{index:04}.jpg")))?;
                let path = format!("photos/{part}/{class}/{index:04}.jpg");
                rows.push_str(&format!("{path},{class}\n"));
                several.push_str(&format!("{path},{class};{},{part}\n", CLASSES[index % CLASSES.len()]));
            }
        }
    }
    fs::write(folder.join("photos.csv"), rows)?;
    fs::write(folder.join("labels.csv"), several)?;
    symlink("photos", folder.join("scans"))?;
    fs::write(folder.join("labels.txt"), CLASSES.join("\n") + "\n")?;
    fs::copy(workspace::root().join("xtask/demo.toml"), folder.join("my.toml"))?;
    for (index, name) in SINGLE.iter().enumerate() {
        let class = CLASSES[(index + 1) % CLASSES.len()];
        fs::copy(folder.join(format!("photos/test/{class}/0000.jpg")), folder.join(name))?;
    }
    symlink(workspace::native(), folder.join(".native"))?;
    commands(folder)
}

/// Writes the commands `infer`, `train` and `cargo` into `target/release` of the folder, which is also `target/debug`.
///
/// # Errors
/// When they cannot be written.
pub fn commands(folder: &Path) -> Result<()> {
    let release = folder.join("target/release");
    fs::create_dir_all(&release)?;
    for name in ["infer", "train", "cargo"] {
        fs::write(release.join(name), include_str!("program.sh"))?;
        fs::set_permissions(release.join(name), Permissions::from_mode(0o755))?;
    }
    symlink("release", folder.join("target/debug"))?;
    Ok(())
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

/// Trains one epoch, exports, and gives the model all its names.
fn trained(folder: &Path, programs: &Programs) -> Result<()> {
    let fit = ["fit", "--data", "photos", "--out", "runs/photos", "--epochs", "1", "--image-size", "32"];
    let export = [
        "export",
        "runs/photos",
        "-o",
        "model.onnx",
        "--explain-outputs",
        "--attention-outputs",
        "--features",
    ];
    for args in [&fit[..], &export[..]] {
        workspace::output(Command::new(programs.folder.join("train")).args(args).current_dir(folder))?;
    }
    for name in MODELS {
        fs::hard_link(folder.join("model.onnx"), folder.join(name).with_extension("onnx"))?;
    }
    symlink("runs/photos/best.safetensors", folder.join("resnet18.pth"))?;
    Ok(())
}
