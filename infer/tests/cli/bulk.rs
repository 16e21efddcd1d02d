//! Jobs over many images: `infer classify --out`, `--shard` and `--check`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::support::{BLUE, GREEN, RED, Said, Workplace};

impl Workplace {
    /// Runs `infer` with arguments that are separated by spaces.
    fn run(&self, args: &str) -> Said {
        Said::by(self.infer().args(args.split_whitespace()))
    }

    /// Starts `infer classify` for a test that ends it.
    fn start(&self, args: &str) -> Child {
        let mut command = self.startable();
        command.args(args.split_whitespace()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Writes `count` copies of an image that takes some milliseconds to decode.
    fn images(&self, folder: &str, count: usize) {
        self.image("large.png", RED);
        let large = image::RgbImage::from_fn(300, 300, |x, y| image::Rgb([250, (x * y % 251) as u8, 0]));
        large.save(self.path("large.png")).unwrap();
        fs::create_dir_all(self.path(folder)).unwrap();
        for index in 0..count {
            fs::copy(self.path("large.png"), self.path(&format!("{folder}/{index:04}.png"))).unwrap();
        }
    }

    /// Names of the parts.
    fn parts(&self, out: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(out)) else { return Vec::new() };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.starts_with("part-")).collect();
        names.sort();
        names
    }

    /// Rows of all parts by the names of their images, none of which may be there twice.
    #[track_caller]
    fn rows(&self, out: &str) -> BTreeMap<String, Value> {
        let mut rows = BTreeMap::new();
        for part in self.parts(out) {
            let text = fs::read_to_string(self.path(&format!("{out}/{part}"))).unwrap();
            for line in text.lines() {
                let row: Value = serde_json::from_str(line).unwrap();
                let name = row["path"].as_str().unwrap().to_owned();
                assert!(rows.insert(name.clone(), row).is_none(), "{name} is there twice");
            }
        }
        rows
    }

    /// Report of a check, and its exit code.
    fn check(&self, args: &str) -> (i32, Value) {
        let said = self.run(&format!("classify --check {args} --format json"));
        (said.code, serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{}", said.stderr)))
    }

    /// Checks an output, which has to be complete with `images` results.
    #[track_caller]
    fn is_complete(&self, args: &str, images: usize) {
        let (code, report) = self.check(args);
        assert_eq!(
            (code, &report["complete"], &report["results"]),
            (0, &true.into(), &images.into()),
            "{report}"
        );
    }

    /// Waits until `count` parts are there.
    fn wait_for_parts(&self, out: &str, count: usize, child: &mut Child) {
        while self.parts(out).len() < count {
            assert!(child.try_wait().unwrap().is_none(), "it ended with {} parts", self.parts(out).len());
            sleep(Duration::from_millis(2));
        }
    }

    fn change(&self, file: &str, change: impl FnOnce(Vec<&str>) -> Vec<&str>) {
        let text = fs::read_to_string(self.path(file)).unwrap();
        let lines = change(text.lines().collect());
        fs::write(self.path(file), lines.join("\n") + "\n").unwrap();
    }
}

#[test]
fn a_job_that_is_killed_goes_on_and_loses_nothing() {
    let place = Workplace::new();
    place.images("photos", 400);
    let args = "classify photos --out out --part-size 20 --threads 1 --batch 4";
    for parts in [3, 8] {
        let mut job = place.start(args);
        place.wait_for_parts("out", parts, &mut job);
        job.kill().unwrap();
        job.wait().unwrap();
    }
    let before = place.parts("out").len();
    assert!(before < 20, "{before} parts: it was not killed in the middle");
    let (code, report) = place.check("out photos");
    assert_eq!((code, &report["complete"]), (1, &false.into()));
    assert_eq!(report["missing"]["count"].as_u64().unwrap() + report["results"].as_u64().unwrap(), 400);

    let said = place.run(args);
    assert_eq!(said.code, 0, "{}", said.stderr);
    place.is_complete("out photos", 400);
    place.is_complete("out", 400);

    // The same results as without a job.
    let plain = place.run("classify photos --format jsonl");
    let rows = place.rows("out");
    assert_eq!(plain.stdout.lines().count(), rows.len());
    for line in plain.stdout.lines() {
        let plain: Value = serde_json::from_str(line).unwrap();
        assert_eq!(rows[plain["path"].as_str().unwrap()]["predictions"], plain["predictions"]);
    }
}

#[test]
#[cfg(unix)]
fn a_job_that_is_stopped_drops_its_part_and_says_how_to_go_on() {
    let place = Workplace::new();
    place.images("photos", 300);
    let args = "classify photos --out out --part-size 20 --threads 1";
    let mut job = place.start(args);
    place.wait_for_parts("out", 2, &mut job);
    let killed = Command::new("kill").args(["-TERM", &job.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(job.wait().unwrap().code(), Some(130));
    let names: Vec<_> =
        fs::read_dir(place.path("out")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().ends_with(".tmp")), "{names:?}");
    assert_eq!(place.run(args).code, 0);
    place.is_complete("out photos", 300);
}

#[test]
fn two_processes_on_one_shard_do_not_double_anything() {
    let place = Workplace::new();
    place.images("photos", 200);
    let args = "classify photos --out out --part-size 20 --threads 1";
    let jobs = [place.start(args), place.start(args)];
    for mut job in jobs {
        assert_eq!(job.wait().unwrap().code(), Some(0));
    }
    place.is_complete("out photos", 200);
    assert_eq!((place.rows("out").len(), place.parts("out").len()), (200, 10));
}

#[test]
fn what_is_done_stays_when_images_are_added() {
    let place = Workplace::new();
    place.images("photos", 30);
    let args = "classify photos --out out --part-size 10";
    assert_eq!(place.run(args).code, 0);
    let read = |part: &String| fs::read(place.path(&format!("out/{part}"))).unwrap();
    let before: Vec<_> = place.parts("out").iter().map(read).collect();
    place.image("photos/0000a.png", GREEN);
    place.image("photos/zzz.png", BLUE);
    let (code, report) = place.check("out photos");
    assert_eq!(
        (code, &report["missing"]["names"]),
        (1, &serde_json::json!(["photos/0000a.png", "photos/zzz.png"]))
    );
    let said = place.run(args);
    assert!(
        said.stderr.contains("30 inputs were done before") && said.stderr.contains("2 images in 1 new part:")
    );
    let after: Vec<_> = place.parts("out").iter().map(read).collect();
    assert_eq!((after.len(), &after[..3]), (4, &before[..]));
    place.is_complete("out photos", 32);

    // An image that changed is classified again, with its part.
    assert_eq!(place.rows("out")["photos/zzz.png"]["predictions"][0]["label"], "blue");
    place.image("photos/zzz.png", RED);
    let (code, report) = place.check("out photos");
    assert_eq!((code, &report["changed"]["names"]), (1, &serde_json::json!(["photos/zzz.png"])));
    assert!(place.run(args).stderr.contains("1 input changed"));
    assert_eq!(place.rows("out")["photos/zzz.png"]["predictions"][0]["label"], "red");
    place.is_complete("out photos", 32);

    // An image that is gone keeps its row, and the check says so.
    fs::remove_file(place.path("photos/0005.png")).unwrap();
    let (code, report) = place.check("out photos");
    assert_eq!((code, &report["unexpected"]["names"]), (0, &serde_json::json!(["photos/0005.png"])));
}

#[test]
fn shards_divide_the_images() {
    let place = Workplace::new();
    place.images("photos", 60);
    for shard in 0..3 {
        let said = place.run(&format!("classify photos --out out --shard {shard}/3 --part-size 5"));
        assert_eq!(said.code, 0, "{}", said.stderr);
        let complete = shard == 2;
        assert_eq!(place.check("out").1["complete"], complete, "shards that have not begun are missed");
        assert_eq!(place.check("out photos").1["complete"], complete);
        assert_eq!(place.check(&format!("out photos --shard {shard}/3")).0, 0);
    }
    assert_eq!(place.rows("out").len(), 60);
    // `--shard` without `--out` takes the same images.
    let plain = place.run("classify photos --shard 1/3 --format jsonl");
    for line in plain.stdout.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let name = row["path"].as_str().unwrap();
        let holder = place
            .parts("out")
            .into_iter()
            .find(|part| fs::read_to_string(place.path(&format!("out/{part}"))).unwrap().contains(name));
        let number: usize = holder.unwrap()[5..10].parse().unwrap();
        assert_eq!(number % 3, 1, "{name}");
    }
    place.run("classify photos --out out --shard 0/4").fails(2, &["shards 3, now 4", "--out", "--overwrite"]);
    place.run("classify photos --shard 3/3").fails(2, &["no shard 3 of 3", "0 to 2"]);
}

#[test]
fn the_variable_of_a_job_array_chooses_the_shard() {
    let place = Workplace::new();
    place.images("photos", 12);
    let run = |args: &str, variable: &str, value: &str| {
        Said::by(place.infer().args(args.split_whitespace()).env(variable, value))
    };
    let auto = run("classify photos --format jsonl --shard auto/3", "JOB_COMPLETION_INDEX", "2");
    let fixed = place.run("classify photos --format jsonl --shard 2/3");
    let names = |said: &Said| {
        let name = |line: &str| serde_json::from_str::<Value>(line).unwrap()["path"].to_string();
        said.stdout.lines().map(name).collect::<Vec<_>>()
    };
    assert_eq!(names(&auto), names(&fixed));
    assert!(!names(&auto).is_empty() && names(&auto).len() < 12);

    let seen = run("classify photos --format jsonl", "SLURM_ARRAY_TASK_ID", "7");
    assert_eq!((seen.code, names(&seen).len()), (0, 12));
    assert_eq!(seen.stderr.matches("SLURM_ARRAY_TASK_ID=7").count(), 1, "{}", seen.stderr);
    run("classify photos --shard auto/2", "JOB_COMPLETION_INDEX", "2").fails(2, &["JOB_COMPLETION_INDEX=2"]);
    place.run("classify photos --shard auto/2").fails(2, &["JOB_COMPLETION_INDEX", "--shard I/N"]);
}

#[test]
fn a_check_names_what_is_missing_double_and_damaged() {
    let place = Workplace::new();
    place.images("photos", 30);
    assert_eq!(place.run("classify photos --out out --part-size 10").code, 0);
    let part = "out/part-00001.jsonl";
    let whole = fs::read(place.path(part)).unwrap();
    let found = |kind: &str| {
        for args in ["out", "out photos"] {
            let (code, report) = place.check(args);
            assert_eq!((code, &report["complete"]), (1, &false.into()), "{report}");
        }
        place.check("out photos").1[kind]["names"].clone()
    };
    place.change(part, |lines| lines[1..].to_vec());
    assert_eq!(found("missing"), serde_json::json!(["photos/0010.png"]));
    fs::write(place.path(part), &whole).unwrap();
    place.change(part, |mut lines| {
        lines.push(lines[3]);
        lines
    });
    assert_eq!(found("double"), serde_json::json!(["photos/0013.png"]));
    fs::write(place.path(part), &whole[..whole.len() - 9]).unwrap();
    assert!(found("damaged")[0].as_str().unwrap().starts_with("part-00001.jsonl: "));
    // Rows of another part.
    fs::copy(place.path("out/part-00000.jsonl"), place.path(part)).unwrap();
    assert!(found("damaged")[0].as_str().unwrap().contains("photos/0000.png is none of its inputs"));
    fs::remove_file(place.path(part)).unwrap();
    assert_eq!(found("missing").as_array().unwrap().len(), 10);
    let said = place.run("classify --check out photos");
    assert!(
        said.stdout.contains("10: photos/0010.png") && said.stdout.contains("20 in 2 parts\n"),
        "{}",
        said.stdout
    );

    // The next start does what is missing again.
    assert_eq!(place.run("classify photos --out out").code, 0);
    place.is_complete("out photos", 30);
    fs::write(place.path("out/part-00007.jsonl"), "").unwrap();
    place.run("classify photos --out out").fails(2, &["part-00007.jsonl", "no job has written"]);
    place.run("classify --check nothing").fails(2, &["nothing holds no results"]);
}

#[test]
fn images_that_fail_are_rows() {
    let place = Workplace::new();
    place.image("photos/a.png", RED);
    place.image("photos/c.png", BLUE);
    fs::write(place.path("photos/b.png"), "no image").unwrap();
    for _ in 0..2 {
        let said = place.run("classify photos --out out");
        assert_eq!(said.code, 1, "{}", said.stderr);
    }
    let rows = place.rows("out");
    assert_eq!(rows["photos/b.png"]["error"]["kind"], "decode");
    assert_eq!(rows["photos/a.png"]["predictions"][0]["label"], "red");
    let (code, report) = place.check("out photos");
    assert_eq!((code, &report["complete"], &report["failures"]), (1, &true.into(), &1.into()));
    // Damaged images are not tried again, but those that could not be read.
    assert!(place.run("classify photos --out out").stderr.contains("0 images in 0 new parts"));
    let record = place.path("out/_job/part-00000.done.json");
    let unread = fs::read_to_string(&record).unwrap().replace("\"unread\":0", "\"unread\":1");
    fs::write(&record, unread).unwrap();
    assert!(
        place
            .run("classify photos --out out")
            .stderr
            .contains("3 images in 1 new part, 1 of them failed: out")
    );

    assert_eq!(place.run("classify photos --out csv --format csv").code, 1);
    let csv = fs::read_to_string(place.path("csv/part-00000.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 3 + 1 + 3, "{csv}");
    assert_eq!(place.check("csv photos").1["results"], 3);
    place.image("photos/b.png", GREEN);
    assert_eq!(place.run("classify photos --out out").code, 0);
    place.is_complete("out photos", 3);
}

#[test]
fn results_of_different_jobs_are_not_mixed() {
    let place = Workplace::new();
    place.images("photos", 4);
    assert_eq!(place.run("classify photos --out out").code, 0);
    place.run("classify photos --out out --top-k 1").fails(2, &["top_k 5, now 1", "--overwrite"]);
    place.run("classify photos --out out --format csv").fails(2, &["format jsonl, now csv"]);
    fs::write(place.path("model.onnx"), crate::support::model_with(|card| card.labels[0] = "other".into()))
        .unwrap();
    place.run("classify photos --out out").fails(2, &["model ", "--overwrite"]);
    let said = place.run("classify photos --out out --overwrite");
    assert!(said.code == 0 && said.stderr.contains("4 images in 1 new part:"), "{}", said.stderr);
    assert_eq!(place.rows("out")["photos/0000.png"]["predictions"][0]["label"], "other");
    // The flag does not begin again what is the same job.
    let said = place.run("classify photos --out out --overwrite");
    assert!(said.stderr.contains("0 images in 0 new parts"), "{}", said.stderr);
    place.is_complete("out photos", 4);
}

#[test]
fn what_cannot_be_a_job_is_refused() {
    let place = Workplace::new();
    place.images("photos", 2);
    fs::create_dir(place.path("empty")).unwrap();
    place.run("classify - --out out").fails(2, &["standard input"]);
    place.run("classify photos --out out --format table").fails(2, &["jsonl, csv or parquet"]);
    place.run("classify photos --format parquet").fails(2, &["--out"]);
    place.run("classify empty --out out").fails(2, &["no images"]);
    place.run("classify missing --out out").fails(2, &["missing: no such file or folder"]);
    place.run("classify photos --out https://example.org/out").fails(2, &["https://example.org/out"]);
}

/// Writes a tar shard with an image of each colour and its label.
fn shard(path: &Path, images: &[(&str, [u8; 3], &str)]) {
    let mut tar = tar::Builder::new(File::create(path).unwrap());
    let mut add = |name: String, bytes: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes).unwrap();
    };
    for (key, color, label) in images {
        let mut png = std::io::Cursor::new(Vec::new());
        image::RgbImage::from_pixel(20, 24, image::Rgb(*color))
            .write_to(&mut png, image::ImageFormat::Png)
            .unwrap();
        add(format!("{key}.png"), &png.into_inner());
        add(format!("{key}.cls"), label.as_bytes());
    }
    tar.finish().unwrap();
}

#[test]
fn images_of_tar_shards_are_classified_and_evaluated() {
    let place = Workplace::new();
    fs::create_dir(place.path("shards")).unwrap();
    shard(&place.path("shards/x-0.tar"), &[("a", RED, "0"), ("b", GREEN, "1")]);
    shard(&place.path("shards/x-1.tar"), &[("c", BLUE, "2"), ("d", BLUE, "red")]);
    let said = place.run("classify shards/x-{0..1}.tar --out out");
    assert_eq!(said.code, 0, "{}", said.stderr);
    let rows = place.rows("out");
    let names: Vec<_> = rows.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["shards/x-0.tar#a.png", "shards/x-0.tar#b.png", "shards/x-1.tar#c.png", "shards/x-1.tar#d.png"]
    );
    assert_eq!(rows["shards/x-1.tar#c.png"]["predictions"][0]["label"], "blue");
    assert_eq!(place.parts("out"), ["part-00000.jsonl", "part-00001.jsonl"]);
    place.is_complete("out shards", 4);
    place.change("out/part-00001.jsonl", |lines| lines[..1].to_vec());
    assert_eq!(place.check("out shards").1["missing"]["names"], serde_json::json!(["shards/x-1.tar#d.png"]));
    // The way out that the check names.
    fs::remove_file(place.path("out/part-00001.jsonl")).unwrap();
    assert_eq!(place.run("classify shards --out out").code, 0);
    place.is_complete("out shards", 4);

    let plain = place.run("classify shards --format jsonl");
    assert_eq!((plain.code, plain.stdout.lines().count()), (0, 4), "{}", plain.stderr);

    let evaluated: Value =
        serde_json::from_str(&place.run("evaluate --data shards --format json").stdout).unwrap();
    assert_eq!((&evaluated["images"], &evaluated["accuracy"]), (&4.into(), &0.75.into()));
    assert_eq!(evaluated["mistakes"][0]["path"], "shards/x-1.tar#d.png");
    assert_eq!(evaluated.get("shard"), None);
    let mut images = 0;
    for index in 0..2 {
        let said = place.run(&format!("evaluate --data shards --format json --shard {index}/2"));
        let part: Value = serde_json::from_str(&said.stdout).unwrap();
        assert_eq!(part["shard"], format!("{index}/2"));
        images += part["images"].as_u64().unwrap();
    }
    assert_eq!(images, 4);

    // Shards beside the parts are not inputs.
    fs::copy(place.path("shards/x-0.tar"), place.path("out/x-9.tar")).unwrap();
    place.is_complete("out shards out", 4);

    // A shard that is cut off gives the images before the end, and a failure.
    let whole = fs::read(place.path("shards/x-1.tar")).unwrap();
    fs::write(place.path("shards/x-2.tar"), &whole[..1200]).unwrap();
    let said = place.run("classify shards --out out");
    assert_eq!(said.code, 1, "{}", said.stderr);
    assert!(place.rows("out")["shards/x-2.tar"]["error"]["message"].as_str().unwrap().contains("cut off"));
    let (code, report) = place.check("out shards");
    assert_eq!((code, &report["complete"]), (1, &true.into()), "{report}");
}

#[test]
fn evaluation_of_a_shard_says_so() {
    let place = Workplace::new();
    for index in 0..20 {
        place.image(&format!("photos/red/{index}.png"), RED);
        place.image(&format!("photos/blue/{index}.png"), BLUE);
    }
    let images =
        |said: &Said| serde_json::from_str::<Value>(&said.stdout).unwrap()["images"].as_u64().unwrap();
    let parts: Vec<_> = (0..3)
        .map(|index| place.run(&format!("evaluate --data photos --format json --shard {index}/3")))
        .collect();
    assert_eq!(parts.iter().map(images).sum::<u64>(), 40);
    let text = place.run("evaluate --data photos --shard 0/3");
    assert!(text.stdout.contains("only shard 0/3"), "{}", text.stdout);
}
