//! Custom operators for ONNX Runtime that compute attention.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::thread;

use fearless_simd::Level;
use ferronnx_models::layers::Gate;
use ferronnx_models::onnx::fuse::{DOMAIN, GATE, Kind};
use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput,
    ShapeInferenceContext,
};
use ort::value::TensorElementType;

use super::kernel::{Biases, Channel, Convolution, Mlp, Scores, Scratch, Sizes, Weights, attention};
use super::parallel;
use super::tensors::{self, Input};

/// Creates the operator domain to register with a session whose graph has fused attention.
pub(crate) fn domain() -> ort::Result<OperatorDomain> {
    Kind::ALL
        .into_iter()
        .try_fold(OperatorDomain::new(DOMAIN)?, |domain, kind| domain.add(AttentionOperator(kind)))
}

struct AttentionOperator(Kind);

impl Operator for AttentionOperator {
    type Kernel<'attr> = AttentionKernel;

    fn name(&self) -> &str {
        self.0.operator()
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        std::iter::repeat_with(|| OperatorInput::required(TensorElementType::Float32)).take(self.0.inputs())
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn infer_shape(&self, context: &mut ShapeInferenceContext) -> ort::Result<()> {
        let inputs = context.inputs();
        context.set_output(0, &inputs[0])
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<AttentionKernel> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let scratch = (0..threads).map(|_| Mutex::default()).collect();
        let gate = if context.get::<i64>(GATE) == Some(1) { Gate::HardSigmoid } else { Gate::Sigmoid };
        Ok(AttentionKernel { kind: self.0, gate, level: Level::new(), scratch })
    }
}

struct AttentionKernel {
    kind: Kind,
    gate: Gate,
    level: Level,
    /// Scratch memory, one for each thread that may run at the same time.
    scratch: Vec<Mutex<Scratch>>,
}

impl Kernel for AttentionKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        // A panic must not unwind into ONNX Runtime: that would abort the process.
        catch_unwind(AssertUnwindSafe(|| self.run(context)))
            .unwrap_or_else(|_| Err(ort::Error::new("the attention kernel panicked")))
    }
}

impl AttentionKernel {
    fn run(&self, context: &ComputeContext) -> ort::Result<()> {
        let mut inputs = (0..self.kind.inputs()).map(|at| tensors::input(context, at));
        let mut next = || inputs.next().unwrap_or_else(|| Err(ort::Error::new("attention lacks an input")));
        let Input { shape, values: x } = next()?;
        let scores = match self.kind {
            Kind::Channel | Kind::Cbam => {
                Some(Scores::MeansAndMaxima(Mlp { squeeze: next()?.values, excite: next()?.values }))
            }
            Kind::Se => {
                let [squeeze, squeeze_bias, excite, excite_bias] =
                    [next()?, next()?, next()?, next()?].map(|input| input.values);
                let biases = Biases { squeeze: squeeze_bias, excite: excite_bias };
                Some(Scores::Means(Mlp { squeeze, excite }, biases))
            }
            Kind::Eca => Some(Scores::Neighbours(next()?.values)),
            Kind::Spatial => None,
        };
        let spatial = match self.kind {
            Kind::Spatial | Kind::Cbam => {
                let Input { shape, values: taps } = next()?;
                Some(Convolution { side: shape.last().map_or(0, |&side| side as usize), taps })
            }
            Kind::Channel | Kind::Se | Kind::Eca => None,
        };
        let channel = scores.map(|scores| Channel { scores, gate: self.gate });
        let weights = Weights { channel, spatial };
        let &[_, channels, height, width] = shape else {
            return Err(ort::Error::new(format!("attention takes [N, C, H, W], and not {shape:?}")));
        };
        let [channels, height, width] = [channels, height, width].map(|size| size as usize);
        let sizes = Sizes { channels, height, width };
        // SAFETY: the output is requested here only, once in each run.
        let out = unsafe { tensors::output(context, shape) }?;
        let share = sizes.together();
        let workers = x.len().div_ceil(share).clamp(1, self.scratch.len());
        let shares = Mutex::new(x.chunks(share).zip(out.chunks_mut(share)));
        let failure = Mutex::new(None);
        parallel::run(context, workers, &|worker| {
            let mut scratch = self.scratch[worker].lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                let next = shares.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((x, out)) = next else { return };
                if let Err(error) = attention(self.level, sizes, weights, x, out, &mut scratch) {
                    *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                }
            }
        })?;
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(ort::Error::wrap(error)),
            None => Ok(()),
        }
    }
}
