//! An archive brings every library that its files need, but glibc.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use super::elf::Needs;

/// Libraries of glibc, by the beginnings of their names.
const GLIBC: [&str; 7] =
    ["libc.so.", "libdl.so.", "libm.so.", "libpthread.so.", "librt.so.", "libutil.so.", "ld-linux"];

/// True for the name of a library of glibc, whose loader is one too.
pub fn is_glibc(name: &str) -> bool {
    GLIBC.iter().any(|glibc| name.starts_with(glibc))
}

/// Checks that each library that a file needs is in the archive or part of glibc.
///
/// # Errors
/// When one is neither.
pub fn check(needs: &[Needs]) -> Result<()> {
    let brought: BTreeSet<_> =
        needs.iter().filter_map(|needs| needs.file.file_name()?.to_str().map(ToOwned::to_owned)).collect();
    for Needs { file, libraries, .. } in needs {
        let missing = libraries.iter().find(|name| !brought.contains(*name) && !is_glibc(name));
        if let Some(missing) = missing {
            bail!("{}: needs {missing}, which the archive does not bring", file.display());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn needs(file: &str, libraries: &[&str]) -> Needs {
        let libraries = libraries.iter().map(|&name| name.to_owned()).collect();
        Needs { file: file.into(), glibc: None, glibcxx: None, newer: BTreeMap::new(), libraries }
    }

    #[test]
    fn a_library_that_is_not_brought_is_named() {
        let program = needs("bin/train", &["libc10.so", "libc.so.6", "ld-linux-x86-64.so.2"]);
        let error = check(std::slice::from_ref(&program)).unwrap_err().to_string();
        assert!(error.starts_with("bin/train: needs libc10.so"), "{error}");
        check(&[program, needs("libtorch/torch/lib/libc10.so", &["libm.so.6"])]).unwrap();
    }
}
