//! The operator as ONNX Runtime runs it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use models::onnx::fuse::{DOMAIN, OPERATOR};
use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput,
    ShapeInferenceContext,
};
use ort::value::TensorElementType;

use super::kernel::{Instructions, Scratch, Sizes, Weights, cbam};

/// Smaller batches, in values, are done before another thread has begun.
const WORTH_A_THREAD: usize = 16 << 10;

/// The domain with the operator, for the session of a graph that has it.
pub(crate) fn domain() -> ort::Result<OperatorDomain> {
    OperatorDomain::new(DOMAIN)?.add(Cbam)
}

struct Cbam;

impl Operator for Cbam {
    type Kernel<'attr> = CbamKernel;

    fn name(&self) -> &str {
        OPERATOR
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [(); 4].map(|()| OperatorInput::required(TensorElementType::Float32))
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn infer_shape(&self, context: &mut ShapeInferenceContext) -> ort::Result<()> {
        let inputs = context.inputs();
        context.set_output(0, &inputs[0])
    }

    fn create_kernel<'attr>(&self, _: &KernelContext<'attr>) -> ort::Result<CbamKernel> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let scratch = (0..threads).map(|_| Mutex::default()).collect();
        Ok(CbamKernel { instructions: Instructions::here()[0], scratch })
    }
}

struct CbamKernel {
    instructions: Instructions,
    /// As many as pictures are computed side by side.
    scratch: Vec<Mutex<Scratch>>,
}

impl Kernel for CbamKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        // A panic that reached ONNX Runtime would end the process.
        catch_unwind(AssertUnwindSafe(|| self.run(context)))
            .unwrap_or_else(|_| Err(ort::Error::new("the attention kernel panicked")))
    }
}

impl CbamKernel {
    fn run(&self, context: &ComputeContext) -> ort::Result<()> {
        let missing = || ort::Error::new("an input of the attention is missing");
        let [x, squeeze, excite, conv] =
            [context.input(0)?, context.input(1)?, context.input(2)?, context.input(3)?];
        let (x, squeeze) = (x.ok_or_else(missing)?, squeeze.ok_or_else(missing)?);
        let (excite, conv) = (excite.ok_or_else(missing)?, conv.ok_or_else(missing)?);
        let (shape, x) = x.try_extract_tensor::<f32>()?;
        let (mlp, squeeze) = squeeze.try_extract_tensor::<f32>()?;
        let (_, excite) = excite.try_extract_tensor::<f32>()?;
        let (kernel, conv) = conv.try_extract_tensor::<f32>()?;
        let dims: [i64; 4] =
            shape[..].try_into().map_err(|_| ort::Error::new("attention takes [N, C, H, W]"))?;
        let [pictures, channels, height, width] = dims.map(|size| size as usize);
        let sizes = Sizes { channels, height, width, hidden: mlp[0] as usize, kernel: kernel[3] as usize };
        let weights = Weights { squeeze, excite, conv };
        let mut out = context.output(0, shape.clone())?.ok_or_else(missing)?;
        let (_, out) = out.try_extract_tensor_mut::<f32>()?;
        let length = channels * height * width;
        if squeeze.len() != sizes.hidden * channels || excite.len() != squeeze.len() || out.len() != x.len() {
            return Err(ort::Error::new(format!(
                "attention with weights for others than {channels} channels"
            )));
        }
        let groups = match x.len() < WORTH_A_THREAD {
            true => 1,
            false => self.scratch.len().min(pictures),
        };
        if groups <= 1 {
            let mut scratch = self.scratch[0].lock().unwrap_or_else(PoisonError::into_inner);
            for (x, out) in x.chunks_exact(length.max(1)).zip(out.chunks_exact_mut(length.max(1))) {
                cbam(self.instructions, sizes, x, out, weights, &mut scratch);
            }
            return Ok(());
        }
        let panicked = AtomicBool::new(false);
        let whole = Whole { start: out.as_mut_ptr(), length: out.len() };
        context.par_for(groups, groups, |group| {
            let work = || {
                let range = (pictures * group / groups) * length..(pictures * (group + 1) / groups) * length;
                // SAFETY: the groups' ranges divide the output, and each group comes once.
                let out = unsafe { whole.part(range.clone()) };
                let mut scratch = self.scratch[group].lock().unwrap_or_else(PoisonError::into_inner);
                for (x, out) in x[range].chunks_exact(length).zip(out.chunks_exact_mut(length)) {
                    cbam(self.instructions, sizes, x, out, weights, &mut scratch);
                }
            };
            if catch_unwind(AssertUnwindSafe(work)).is_err() {
                panicked.store(true, Ordering::Relaxed);
            }
        })?;
        match panicked.load(Ordering::Relaxed) {
            true => Err(ort::Error::new("the attention kernel panicked")),
            false => Ok(()),
        }
    }
}

/// The output, of which each thread writes a part.
struct Whole {
    start: *mut f32,
    length: usize,
}

// SAFETY: floats may be written from any thread; that no two write the same is `part`'s condition.
unsafe impl Send for Whole {}
// SAFETY: as above.
unsafe impl Sync for Whole {}

impl Whole {
    /// # Safety
    /// Parts that live at the same time do not overlap, and none outlives the output.
    #[allow(clippy::mut_from_ref)] // of disjoint parts
    unsafe fn part(&self, range: std::ops::Range<usize>) -> &mut [f32] {
        assert!(range.start <= range.end && range.end <= self.length);
        // SAFETY: the range is inside, and not lent to anyone else.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}
