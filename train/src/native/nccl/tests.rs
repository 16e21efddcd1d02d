#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::process::Command;

use tch::Device;

use super::*;

/// The functions of `fake.c`, whose collectives compute on the CPU.
fn fake(dir: &std::path::Path) -> Nccl {
    let library = dir.join("libnccl.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/native/nccl/fake.c");
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
    assert!(compiled.unwrap().success());
    Nccl::open(library.to_str().unwrap()).unwrap()
}

#[test]
fn collectives_get_memory_type_and_order() {
    let dir = tempfile::tempdir().unwrap();
    let nccl = fake(dir.path());
    let id = nccl.unique_id().unwrap();
    let gpus = Communicator::new(nccl, id, [1, 3], 0).unwrap();
    for kind in [Kind::Float, Kind::Double] {
        let tensor = Tensor::arange(6, (kind, Device::Cpu)).view([2, 3]).transpose(0, 1);
        gpus.all_reduce(&tensor).unwrap();
        assert_eq!(tensor.get(2), Tensor::from_slice(&[6.0, 15.0]).to_kind(kind));
    }
    let tensors = [3, 5].map(|count| Tensor::zeros([count], (Kind::Int64, Device::Cpu)));
    gpus.broadcast(&tensors.each_ref(), 2).unwrap();
    assert_eq!(tensors.map(|tensor| tensor.sum(Kind::Int64).int64_value(&[])), [6, 10]);

    let refused = |tensor: Tensor| gpus.all_reduce(&tensor).unwrap_err().to_string();
    assert_eq!(refused(Tensor::zeros([2], (Kind::Half, Device::Cpu))), "NCCL: invalid argument");
    assert_eq!(refused(Tensor::zeros([2], (Kind::Bool, Device::Cpu))), "NCCL takes no tensors of Bool");
    let gaps = Tensor::zeros([4, 4], (Kind::Float, Device::Cpu)).narrow(1, 0, 2);
    assert!(refused(gaps).contains("with gaps"));
}

#[test]
fn a_broken_connection_is_found_and_ended_once() {
    let dir = tempfile::tempdir().unwrap();
    let nccl = fake(dir.path());
    let id = nccl.unique_id().unwrap();
    let gpus = Communicator::new(nccl, id, [0, 2], 0).unwrap();
    assert_eq!(gpus.error(), None);
    let tensor = Tensor::zeros([123], (Kind::Float, Device::Cpu));
    gpus.all_reduce(&tensor).unwrap();
    assert_eq!(gpus.error().as_deref(), Some("NCCL: remote process exited"));
    gpus.abort();
    gpus.abort();
    assert_eq!(gpus.error(), None);
    assert!(gpus.all_reduce(&tensor).unwrap_err().to_string().contains("was ended"));
}

#[test]
fn a_connection_that_cannot_be_made() {
    let dir = tempfile::tempdir().unwrap();
    let error = Communicator::new(fake(dir.path()), UniqueId([9; 128]), [0, 1], 0).unwrap_err();
    assert_eq!(error.to_string(), "NCCL: invalid argument");
    assert!(Nccl::open("libnccl-missing.so.2").is_err());
    // A library without NCCL's functions.
    assert!(Nccl::open("libm.so.6").is_err());
}
