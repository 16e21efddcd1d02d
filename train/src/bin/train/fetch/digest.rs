//! SHA-256 digests, in hexadecimal.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

/// Digest of a file.
pub fn of_file(path: &Path) -> io::Result<String> {
    let mut digest = Sha256::new();
    add_file(&mut digest, path)?;
    Ok(hexadecimal(digest))
}

/// Digest of the contents and names of those `names` that are in `folder`.
pub fn of_files(folder: &Path, names: impl Iterator<Item = &'static str>) -> io::Result<String> {
    let mut digest = Sha256::new();
    for path in names.map(|name| folder.join(name)).filter(|path| path.exists()) {
        digest.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        digest.update(path.metadata()?.len().to_le_bytes());
        add_file(&mut digest, &path)?;
    }
    Ok(hexadecimal(digest))
}

fn add_file(digest: &mut Sha256, path: &Path) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            read => digest.update(&buffer[..read]),
        }
    }
}

fn hexadecimal(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn as_the_standard_says() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("abc"), "abc").unwrap();
        let digest = of_file(&dir.path().join("abc")).unwrap();
        // FIPS 180-2, example 1
        assert_eq!(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn of_several_files_each_counts() {
        let dir = tempfile::tempdir().unwrap();
        let digest = || of_files(dir.path(), ["a", "b"].into_iter()).unwrap();
        let mut seen = vec![digest()];
        for (name, content) in [("a", "xy"), ("b", "z"), ("a", "x"), ("b", "yz")] {
            fs::write(dir.path().join(name), content).unwrap();
            assert!(!seen.contains(&digest()));
            seen.push(digest());
        }
    }
}
