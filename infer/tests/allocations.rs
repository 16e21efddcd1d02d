//! Checks that the fused operator allocates nothing in a pass; the test has a process of its own, for all allocations count.

#![allow(clippy::unwrap_used)] // a test fails by panicking

#[path = "cli/support.rs"]
#[allow(dead_code)] // the rest is for the program's tests
mod support;

use ferronnx_infer::Session;
use ferronnx_infer::attention::AttentionKernels;
use ferronnx_models::layers::{Attention, Cbam};
use ferronnx_models::onnx::{self, Interface, Opset};
use ferronnx_models::testing;
use support::options;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

#[test]
fn a_pass_with_our_operator_allocates_as_often_as_one_without() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let item @ [channels, height, width] = [64, 16, 16];
    let cbam = Cbam::new("cbam", channels, Attention::default());
    let weights = testing::weights(&cbam, &[1, channels, height, width]).unwrap();
    let graph = onnx::trace(&cbam, &weights, &Interface::new(item), Opset::default()).unwrap();
    let file = onnx::encode(graph, &[]);
    for batch in [1, 16] {
        let x = testing::input(&[batch, channels, height, width]);
        let [stock, fused] = [AttentionKernels::Stock, AttentionKernels::Fused].map(|attention| {
            let options = options().attention(attention).threads(2);
            let session = Session::from_bytes(&file, &options).unwrap();
            assert_eq!(session.fusion().fused.len(), usize::from(attention == AttentionKernels::Fused));
            // The first passes allocate scratch memory, on either thread.
            (0..20).for_each(|_| drop(session.run(x.view()).unwrap()));
            let before = dhat::HeapStats::get().total_blocks;
            (0..20).for_each(|_| drop(session.run(x.view()).unwrap()));
            dhat::HeapStats::get().total_blocks - before
        });
        assert!(stock > 0, "nothing was counted");
        assert_eq!(fused, stock, "batch {batch}");
    }
}
