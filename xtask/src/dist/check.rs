//! Runs released programs in a root folder that has glibc and the archives only, with an empty environment.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use flate2::read::GzDecoder;

use super::closed::is_glibc;
use super::{Archive, Program};
use crate::workspace::{self, root};

/// Beginning of an answer of the server that is no error.
const OK: &str = "HTTP/1.1 200 ";

/// Longest time that the server may take to start.
const START: Duration = Duration::from_secs(60);

/// Checks `archives`: a short training and its export, then images classified and served.
///
/// # Errors
/// When the root folder cannot be made, or a program fails.
pub fn run(archives: &[Archive]) -> Result<()> {
    let home = tempfile::tempdir().context("root folder")?;
    let sandbox = Sandbox::new(home.path())?;
    for archive in archives {
        let file =
            File::open(&archive.file).with_context(|| format!("cannot open {}", archive.file.display()))?;
        let mut tar = tar::Archive::new(GzDecoder::new(file));
        tar.unpack(home.path().join("opt"))
            .with_context(|| format!("cannot unpack {}", archive.file.display()))?;
        workspace::run(
            Command::new("sha256sum")
                .args(["--check", "--strict", "--quiet", "SHA256SUMS"])
                .current_dir(home.path().join("opt").join(&archive.name)),
        )?;
    }
    let program = |wanted: Program| {
        let archive = archives.iter().find(|archive| archive.program == wanted)?;
        Some(format!("/opt/{}/bin/{wanted}", archive.name))
    };
    // A model of our own when `train` is there; else one that the tests ship.
    let mut image = "/work/image.png".to_owned();
    fs::copy(root().join("infer/tests/earlier/image.png"), home.path().join("work/image.png"))?;
    if let Some(train) = program(Program::Train) {
        images(&home.path().join("work/photos"))?;
        let options = ["--epochs", "1", "--image-size", "16", "--batch-size", "8"];
        sandbox.run(
            &train,
            &[&["fit", "--data", "/work/photos", "--out", "/work/run"][..], &options].concat(),
        )?;
        sandbox.run(&train, &["export", "/work/run", "-o", "/work/model.onnx"])?;
        image = "/work/photos/test/red/0.png".into();
    } else {
        let packed = File::open(root().join("infer/tests/earlier/fp32.onnx.gz"))?;
        let mut model = File::create(home.path().join("work/model.onnx"))?;
        std::io::copy(&mut GzDecoder::new(packed), &mut model).context("model of the tests")?;
    }
    if let Some(infer) = program(Program::Infer) {
        sandbox.run(&infer, &["verify", "--model", "/work/model.onnx"])?;
        sandbox.run(&infer, &["classify", "--model", "/work/model.onnx", &image])?;
        serve(&sandbox, &infer, &home.path().join(image.trim_start_matches('/')))?;
    }
    println!("all ran with glibc and the archives only, and an empty environment");
    Ok(())
}

/// Root folder with glibc, `/opt` for archives and `/work` for data.
struct Sandbox {
    root: PathBuf,
}

impl Sandbox {
    fn new(root: &Path) -> Result<Self> {
        for folder in ["proc", "tmp", "opt", "work"] {
            fs::create_dir(root.join(folder)).context("root folder")?;
        }
        let cache = workspace::output(Command::new("ldconfig").arg("-p")).context("list of libraries")?;
        let mut copied = 0;
        for path in cache
            .lines()
            .filter(|line| line.contains("x86-64") || line.contains("AArch64"))
            .filter_map(|line| line.split(" => ").nth(1))
        {
            let name = path.rsplit('/').next().unwrap_or_default();
            if is_glibc(name) {
                let place = root.join(path.trim_start_matches('/'));
                fs::create_dir_all(place.parent().unwrap_or(root)).context("root folder")?;
                fs::copy(path, &place).with_context(|| format!("cannot copy {path}"))?;
                copied += 1;
            }
        }
        // libtorch reads random numbers from this device, of which a user namespace cannot make another.
        let mut numbers = Vec::new();
        File::open("/dev/urandom")
            .and_then(|device| device.take(4096).read_to_end(&mut numbers))
            .context("/dev/urandom")?;
        super::write(&root.join("dev/urandom"), numbers)?;
        println!("root folder with {copied} files of glibc");
        // Programs name the loader by this path.
        for loader in ["lib64/ld-linux-x86-64.so.2", "lib/ld-linux-aarch64.so.1"] {
            let from = Path::new("/").join(loader);
            if from.exists() && !root.join(loader).exists() {
                fs::create_dir_all(root.join(loader).parent().unwrap_or(root)).context("root folder")?;
                fs::copy(&from, root.join(loader)).context("loader of programs")?;
            }
        }
        Ok(Self { root: root.to_owned() })
    }

    /// Command that runs in the root folder, with its own `/proc`, and ends with this program.
    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.args([
            "--user",
            "--map-root-user",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ]);
        command.arg(format!("--root={}", self.root.display())).arg("--wd=/work").arg(program).args(args);
        command.env_clear();
        command
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<()> {
        println!("$ {program} {}", args.join(" "));
        workspace::run(&mut self.command(program, args))
    }
}

/// Asks a server in the root folder from outside of it.
fn serve(sandbox: &Sandbox, infer: &str, image: &Path) -> Result<()> {
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .context("free port")?
        .port();
    let address = format!("127.0.0.1:{port}");
    println!("$ {infer} serve /work/model.onnx --listen {address}");
    let mut command = sandbox.command(infer, &["serve", "/work/model.onnx", "--listen", &address]);
    let mut server = Running(command.stdin(Stdio::null()).spawn().context("cannot start unshare")?);
    let start = Instant::now();
    while !ask(&address, "GET /v2/health/ready", b"").is_ok_and(|answer| answer.starts_with(OK)) {
        if let Some(status) = server.0.try_wait()? {
            bail!("`infer serve` ended ({status})");
        }
        if start.elapsed() > START {
            bail!("`infer serve` does not answer on {address}");
        }
        sleep(Duration::from_millis(100));
    }
    let body = fs::read(image).context("image")?;
    let answer = ask(&address, "POST /v1/classify", &body)?;
    println!("POST /v1/classify: {}", answer.lines().last().unwrap_or_default());
    if !answer.starts_with(OK) || !answer.contains("\"probability\"") {
        bail!("`infer serve` answered: {answer}");
    }
    Ok(())
}

/// Server that is ended with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ask(address: &str, what: &str, body: &[u8]) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(START))?;
    let head = format!(
        "{what} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("answer of the server")?;
    Ok(answer)
}

/// Writes images of three colours, 16 for training and 4 for testing of each.
fn images(folder: &Path) -> Result<()> {
    for (place, count) in [("train", 16_u8), ("test", 4)] {
        for (channel, name) in ["red", "green", "blue"].into_iter().enumerate() {
            let folder = folder.join(place).join(name);
            fs::create_dir_all(&folder).context("images")?;
            for index in 0..count {
                let file = File::create(folder.join(format!("{index}.png"))).context("images")?;
                let mut encoder = png::Encoder::new(file, 16, 16);
                encoder.set_color(png::ColorType::Rgb);
                let pixels = (0..16 * 16 * 3_usize).map(|at| match at % 3 == channel {
                    true => 200 + index,
                    false => u8::try_from(at * 7 % 60).unwrap_or(0) + index,
                });
                encoder.write_header()?.write_image_data(&pixels.collect::<Vec<_>>())?;
            }
        }
    }
    Ok(())
}
