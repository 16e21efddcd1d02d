//! Platforms that wheels of the libraries are known for.

use std::env::consts::{ARCH, OS};

use clap::ValueEnum;

/// Platform, named as the compiler does.
///
/// Setup and the programs ran on Linux on x86-64 only. macOS on x86-64 is missing: torch 2.2 and ONNX Runtime 1.23 were the
/// last with wheels for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Platform {
    /// Linux on x86-64.
    #[value(name = "x86_64-unknown-linux-gnu")]
    LinuxX64,
    /// Linux on 64-bit ARM.
    #[value(name = "aarch64-unknown-linux-gnu")]
    LinuxArm64,
    /// macOS 14 or newer on Apple silicon.
    #[value(name = "aarch64-apple-darwin")]
    MacArm64,
}

impl Platform {
    /// This machine's platform; `None` when no wheels are known for it.
    pub fn here() -> Option<Self> {
        Self::of(OS, ARCH)
    }

    /// Platform of a system and a processor, as Rust names them.
    pub fn of(os: &str, arch: &str) -> Option<Self> {
        match (os, arch) {
            ("linux", "x86_64") => Some(Self::LinuxX64),
            ("linux", "aarch64") => Some(Self::LinuxArm64),
            ("macos", "aarch64") => Some(Self::MacArm64),
            _ => None,
        }
    }

    /// Name that the compiler uses.
    pub fn triple(self) -> &'static str {
        match self {
            Self::LinuxX64 => "x86_64-unknown-linux-gnu",
            Self::LinuxArm64 => "aarch64-unknown-linux-gnu",
            Self::MacArm64 => "aarch64-apple-darwin",
        }
    }

    /// Tags of the wheels.
    ///
    /// Naming them makes a download independent of the Python that runs pip.
    pub fn tags(self) -> &'static [&'static str] {
        match self {
            Self::LinuxX64 => &[
                "manylinux_2_28_x86_64",
                "manylinux_2_27_x86_64",
                "manylinux_2_25_x86_64",
                "manylinux_2_18_x86_64",
                "manylinux_2_17_x86_64",
                "manylinux_2_12_x86_64",
                "manylinux_2_5_x86_64",
                "manylinux2014_x86_64",
            ],
            Self::LinuxArm64 => &[
                "manylinux_2_28_aarch64",
                "manylinux_2_27_aarch64",
                "manylinux_2_25_aarch64",
                "manylinux_2_17_aarch64",
                "manylinux2014_aarch64",
            ],
            Self::MacArm64 => {
                &["macosx_14_0_arm64", "macosx_13_0_arm64", "macosx_12_0_arm64", "macosx_11_0_arm64"]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_compiler() {
        for platform in Platform::value_variants() {
            let value = platform.to_possible_value().unwrap();
            assert_eq!(value.get_name(), platform.triple());
        }
        assert_eq!(Platform::of("macos", "x86_64"), None);
    }
}
