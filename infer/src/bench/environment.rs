//! Description of the machine that a benchmark runs on.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::runtime;

/// Machine and software of a benchmark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Name of the processor.
    pub cpu: String,
    /// Number of threads that the processor runs at once.
    pub cores: usize,
    /// Size of the memory, in bytes.
    pub memory_bytes: u64,
    /// Operating system and architecture.
    pub system: String,
    /// Version of this crate.
    pub infer: String,
    /// Version of ONNX Runtime.
    pub onnxruntime: String,
}

impl Environment {
    /// Describes this machine.
    pub(super) fn here(library: Option<&Path>) -> Result<Self> {
        let system = sysinfo::System::new().map(|mut system| {
            system.refresh_cpu_all();
            system.refresh_memory();
            system
        });
        let cpu = |system: &sysinfo::System| Some(system.cpus().first()?.brand().trim().to_owned());
        let name = sysinfo::System::long_os_version().unwrap_or_else(|_| std::env::consts::OS.into());
        Ok(Self {
            cpu: system.as_ref().ok().and_then(cpu).unwrap_or_else(|| "unknown".into()),
            cores: cores(),
            memory_bytes: system.map_or(0, |system| system.total_memory()),
            system: format!("{name}, {}", std::env::consts::ARCH),
            infer: env!("CARGO_PKG_VERSION").into(),
            onnxruntime: runtime::load(library)?.version().into(),
        })
    }
}

/// Number of threads that this machine runs at once.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}
