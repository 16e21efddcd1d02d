//! Versions and digests of all wheels; change them here.
//!
//! The same file is downloaded whatever Python runs pip, so each wheel has one digest. The CUDA wheels are
//! torch's own requirements as pip resolves them, without Triton (a compiler for Python). They include those
//! of ONNX Runtime's extra `cuda`.

use crate::wheel::Wheel;

const SHARED_OBJECTS_AND_HEADERS: &[(&str, &str)] = &[("torch/include/", "include/"), ("torch/lib/", "lib/")];

/// libtorch with CUDA.
pub const TORCH_CUDA: Wheel = Wheel {
    package: "torch",
    version: "2.13.0",
    megabytes: 526.6,
    sha256: "60fcdcb2f3876e21146cb4524ef06397d727ca9ad5f020818547e25075fe3cb7",
    keep: SHARED_OBJECTS_AND_HEADERS,
};

/// libtorch for the CPU: the same wheel without its GPU libraries and Python bindings.
pub const TORCH_CPU: Wheel = Wheel {
    keep: &[
        ("torch/include/", "include/"),
        ("torch/lib/libc10.so", "lib/libc10.so"),
        ("torch/lib/libgomp.so.1", "lib/libgomp.so.1"),
        ("torch/lib/libshm.so", "lib/libshm.so"),
        ("torch/lib/libtorch_cpu.so", "lib/libtorch_cpu.so"),
        ("torch/lib/libtorch_global_deps.so", "lib/libtorch_global_deps.so"),
    ],
    ..TORCH_CUDA
};

/// ONNX Runtime for the CPU.
pub const ORT_CPU: Wheel = Wheel {
    package: "onnxruntime",
    version: "1.31.1",
    megabytes: 23.8,
    sha256: "5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f",
    keep: &[("onnxruntime/capi/lib", "lib")],
};

/// ONNX Runtime with its CUDA provider.
pub const ORT_CUDA: Wheel = Wheel {
    package: "onnxruntime-gpu",
    version: "1.31.1",
    megabytes: 255.6,
    sha256: "e26c475fe361b2015f45b4b824bd13f0bb20204e59b62814e6f0acd5f3d491a6",
    keep: &[("onnxruntime/capi/lib", "lib")],
};

/// NVIDIA libraries that `libtorch_cpu.so` needs even without a GPU.
pub const NVIDIA_FOR_CPU: [Wheel; 2] = [
    Wheel { keep: &[("nvidia/cu13/lib/libcudart.so.13", "cu13/lib/libcudart.so.13")], ..CUDART },
    Wheel { keep: &[("nvidia/cu13/lib/libcupti.so.13", "cu13/lib/libcupti.so.13")], ..CUPTI },
];

/// NVIDIA libraries that ONNX Runtime's CUDA provider needs.
///
/// The wheel does not list cuBLAS as a requirement, but the provider does not load without it.
pub const NVIDIA_FOR_ORT: [Wheel; 7] = [
    CUDART,
    nvidia(
        "nvidia-cublas",
        "13.1.1.3",
        423.1,
        "37936a16db8fe4ac1f065c2139360608a543a09275cb1a1af612e08cfa065436",
    ),
    nvidia(
        "nvidia-cuda-nvrtc",
        "13.0.88",
        90.2,
        "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575",
    ),
    nvidia(
        "nvidia-cudnn-cu13",
        "9.20.0.48",
        366.2,
        "0c45dd8eeb50b603f07995b1b300c62ffe6a1980482b82b3bcf94a4ca9d49304",
    ),
    nvidia(
        "nvidia-cufft",
        "12.0.0.61",
        214.1,
        "6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3",
    ),
    nvidia(
        "nvidia-curand",
        "10.4.0.35",
        59.5,
        "1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc",
    ),
    nvidia(
        "nvidia-nvjitlink",
        "13.5.37",
        46.6,
        "280d7cb9649704145f074b8dbde500de04ce02d0872e066e20a83c17bcaa93eb",
    ),
];

/// NVIDIA libraries that libtorch with CUDA needs in addition to [`NVIDIA_FOR_ORT`].
pub const NVIDIA_FOR_TORCH: [Wheel; 8] = [
    CUPTI,
    nvidia(
        "nvidia-cufile",
        "1.15.1.6",
        1.2,
        "08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44",
    ),
    nvidia(
        "nvidia-cusolver",
        "12.0.4.66",
        200.9,
        "0a759da5dea5c0ea10fd307de75cdeb59e7ea4fcb8add0924859b944babf1112",
    ),
    nvidia(
        "nvidia-cusparse",
        "12.6.3.3",
        145.9,
        "2b3c89c88d01ee0e477cb7f82ef60a11a4bcd57b6b87c33f789350b59759360b",
    ),
    nvidia(
        "nvidia-cusparselt-cu13",
        "0.8.1",
        170.1,
        "786ce87568c303fadb5afcc7102d454cd3040d75f6f8626f5db460d1871f4dd0",
    ),
    nvidia(
        "nvidia-nccl-cu13",
        "2.29.7",
        206.0,
        "edd81538446786ec3b73972543e53bb43bcaf0bfc8ef76cb679fcc390ffe136d",
    ),
    nvidia(
        "nvidia-nvshmem-cu13",
        "3.4.5",
        60.4,
        "290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80",
    ),
    nvidia("nvidia-nvtx", "13.0.85", 0.1, "4936d1d6780fbe68db454f5e72a42ff64d1fd6397df9f363ae786930fd5c1cd4"),
];

/// libtorch for the CPU of 64-bit ARM: as [`TORCH_CPU`], with the libraries of linear algebra that it needs.
pub const TORCH_ARM64: Wheel = Wheel {
    megabytes: 427.2,
    sha256: "092790c696a760c729fd5722835f50b9d81fd7c8f141571f3f3cf4081a8f664c",
    keep: &[
        ("torch/include/", "include/"),
        ("torch/lib/libarm_compute", "lib/libarm_compute"),
        ("torch/lib/libc10.so", "lib/libc10.so"),
        ("torch/lib/libgfortran.so.5", "lib/libgfortran.so.5"),
        ("torch/lib/libgomp.so.1", "lib/libgomp.so.1"),
        ("torch/lib/libnvpl_", "lib/libnvpl_"),
        ("torch/lib/libshm.so", "lib/libshm.so"),
        ("torch/lib/libtorch_cpu.so", "lib/libtorch_cpu.so"),
        ("torch/lib/libtorch_global_deps.so", "lib/libtorch_global_deps.so"),
    ],
    ..TORCH_CUDA
};

/// libtorch for Apple silicon.
pub const TORCH_MAC: Wheel = Wheel {
    megabytes: 111.2,
    sha256: "e76f9bcecc52b8ff711239a2f7547d5353df95878ab232f0773c1d95928b92f8",
    keep: SHARED_OBJECTS_AND_HEADERS,
    ..TORCH_CUDA
};

/// ONNX Runtime for 64-bit ARM on Linux.
pub const ORT_ARM64: Wheel = Wheel {
    megabytes: 21.4,
    sha256: "da05378364c44d4407e463982d2bf8d5e4cfea873283757e48beeb41df97b7f3",
    ..ORT_CPU
};

/// ONNX Runtime for Apple silicon.
pub const ORT_MAC: Wheel = Wheel {
    megabytes: 20.9,
    sha256: "60b6b69bfe580eab576cacc5d132a0e9cf2a37fcfd18d46dd191042b1d1ed0d7",
    ..ORT_CPU
};

/// [`NVIDIA_FOR_CPU`] for 64-bit ARM.
pub const NVIDIA_FOR_ARM64: [Wheel; 2] = [
    Wheel { sha256: "ef9bcbe90493a2b9d810e43d249adb3d02e98dd30200d86607d8d02687c43f55", ..NVIDIA_FOR_CPU[0] },
    Wheel { sha256: "796bd679890ee55fb14a94629b698b6db54bcfd833d391d5e94017dd9d7d3151", ..NVIDIA_FOR_CPU[1] },
];

/// scikit-learn, which contains the demo's images.
pub const SCIKIT_LEARN: Wheel = Wheel {
    package: "scikit-learn",
    version: "1.9.1",
    megabytes: 9.3,
    sha256: "52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df",
    keep: &[("sklearn/datasets/data/digits.csv.gz", "digits.csv.gz")],
};

const CUDART: Wheel = nvidia(
    "nvidia-cuda-runtime",
    "13.0.96",
    2.2,
    "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
);

const CUPTI: Wheel = nvidia(
    "nvidia-cuda-cupti",
    "13.0.85",
    10.7,
    "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
);

/// A wheel of NVIDIA's, unpacked whole: its libraries find each other by their places in it.
const fn nvidia(package: &'static str, version: &'static str, megabytes: f64, sha256: &'static str) -> Wheel {
    Wheel { package, version, megabytes, sha256, keep: &[("nvidia/", "")] }
}
